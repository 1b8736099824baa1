"""Prefill in chunks: other sequences take their steps between two chunks of a long prompt."""

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from app.generation.sampling import TokenScore, token_scores

_AT_ONCE = 128  # tokens of one chunk; as a constant, a prompt is read alike in any company


class Prefill:
    """Reads one prompt under one model.

    Args:
        model: The model of a view.
        tokens: The prompt, at least one token.
        top_logprobs: How many alternatives to score at each of its tokens; None scores none.

    Attributes:
        cache: Keys and values of what was read, of one sequence.
        logits: What the model says comes next, (vocabulary,); there once all is read.
    """

    def __init__(
        self, model: PreTrainedModel, tokens: list[int], top_logprobs: int | None = None
    ) -> None:
        self.model = model
        # Without the config every layer keeps all positions, and sequences can be joined; the
        # model still masks what is outside a sliding window.
        self.cache = DynamicCache()
        self.logits: Tensor | None = None
        self._ids = torch.tensor([tokens], device=model.device)  # (1, T)
        self._read = 0
        self._top_logprobs = top_logprobs

    @property
    def done(self) -> bool:
        """Whether all of the prompt has been read."""
        return self.logits is not None

    @torch.inference_mode()
    def read_chunk(self) -> list[TokenScore]:
        """Read the next chunk; the scores of the tokens it foretells, if they are wanted."""
        start, end = self._read, min(self._read + _AT_ONCE, self._ids.shape[1])
        output = self.model(
            input_ids=self._ids[:, start:end],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1 if self._top_logprobs is None else 0,
        )
        self._read = end
        if end == self._ids.shape[1]:
            self.logits = output.logits[0, -1]
        if self._top_logprobs is None:
            return []
        first = [TokenScore(int(self._ids[0, 0]), None)] if start == 0 else []
        foretold = self._ids[0, start + 1 : end + 1]
        return first + token_scores(output.logits[0, : len(foretold)], foretold, self._top_logprobs)
