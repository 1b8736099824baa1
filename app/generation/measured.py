"""An engine that is timed and whose tokens are counted."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter

from transformers import PreTrainedModel

from app.generation.engine import Ask, Engine, Piece
from app.metrics.metrics import Metrics


class Measured:
    """Another engine, with every request on it measured.

    Args:
        engine: What generates.
        metrics: Where it is told.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics

    async def pieces(self, model: PreTrainedModel, asks: Sequence[Ask]) -> AsyncGenerator[Piece]:
        """Every choice of every ask, as the engine says it.

        Raises:
            GenerationFailed: The model failed; no further piece comes.
        """
        started, said = perf_counter(), False
        self._metrics.prompt_tokens.inc(sum(len(ask.tokens) for ask in asks))
        try:
            async with aclosing(self._engine.pieces(model, asks)) as coming:
                async for piece in coming:
                    if piece.tokens and not said:
                        said = True
                        self._metrics.first_token_seconds.observe(perf_counter() - started)
                    self._metrics.generated_tokens.inc(piece.tokens)
                    yield piece
        finally:
            self._metrics.generation_seconds.observe(perf_counter() - started)
