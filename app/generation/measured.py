"""An engine that is timed and whose tokens are counted."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter

from transformers import PreTrainedModel

from app.generation.engine import Chunk, Engine, Prompt
from app.metrics.metrics import Metrics


class Measured:
    """Another engine, with every request on it measured.

    Args:
        engine: What generates.
        metrics: Where it is told.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics

    async def generate(
        self, model: PreTrainedModel, prompts: Sequence[Prompt]
    ) -> AsyncGenerator[Chunk]:
        """Every choice of every prompt, as the engine says it.

        Raises:
            GenerationFailed: The model failed; no further chunk comes.
        """
        started, said = perf_counter(), False
        self._metrics.prompt_tokens.inc(sum(len(prompt.tokens) for prompt in prompts))
        try:
            async with aclosing(self._engine.generate(model, prompts)) as coming:
                async for chunk in coming:
                    if chunk.tokens and not said:
                        said = True
                        self._metrics.first_token_seconds.observe(perf_counter() - started)
                    self._metrics.generated_tokens.inc(chunk.tokens)
                    yield chunk
        finally:
            self._metrics.generation_seconds.observe(perf_counter() - started)
