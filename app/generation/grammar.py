"""Answers in JSON that satisfy a schema: which tokens may come next, by `llguidance`."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from app.errors import InvalidField

if TYPE_CHECKING:  # the library declares it in its stubs alone
    from llguidance._lib import JsonCompileOptions

_FIELD = "response_format"
_MOST_CHARS = 50_000  # of a schema
_MOST_TOLD = 300  # characters of what the library says is wrong with it
# As Python's json writes it: white space is where a small model otherwise goes on for ever.
_SPELLING: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
_LIMITS = LLParserLimits(verbose_errors=False)
_BITS = torch.arange(8, dtype=torch.uint8)


class Grammar:
    """What one answer may consist of; each answer has a copy of its own.

    Args:
        matcher: At the beginning of an answer.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> "Grammar":
        """The same at the same place, for another answer."""
        return Grammar(self._matcher.deep_copy())

    def masked(self, logits: Tensor) -> Tensor:
        """The logits, minus infinity where a token cannot come next; (vocabulary,).

        Raises:
            InvalidField: It takes more than it may to tell which can.
        """
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        _check(self._matcher)
        allowed = ((packed[:, None] >> _BITS) & 1).flatten()[: len(logits)].bool()
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

    def advance(self, token: int) -> None:
        """Take the token that was chosen."""
        self._matcher.consume_token(token)


class Grammars:
    """Makes grammars for one model's tokens; used by one thread.

    Args:
        tokenizer: The model's.
        vocabulary: How many tokens the model scores.
        ends: Those after which it says nothing more.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, vocabulary: int, ends: frozenset[int]
    ) -> None:
        self._tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, ends

    def of(self, schema: Mapping[str, Any]) -> Grammar:
        """The grammar of the JSON that satisfies a schema.

        Raises:
            InvalidField: The schema is wrong, too large, or needs what is not implemented; or the
                model's tokens cannot be held against any.
        """
        written = json.dumps(schema)
        if len(written) > _MOST_CHARS:
            raise InvalidField(
                _FIELD, f"a schema of {len(written)} characters; at most {_MOST_CHARS} are accepted"
            )
        try:
            grammar = LLMatcher.grammar_from_json_schema(written, overrides=_SPELLING)
        except ValueError as error:
            raise _refused(str(error)) from error
        matcher = LLMatcher(self._tokens, grammar, log_level=0, limits=_LIMITS)
        matcher.compute_bitmask()  # the first takes longest, and copies need not do it again
        _check(matcher)
        return Grammar(matcher)

    @cached_property
    def _tokens(self) -> LLTokenizer:
        if not self._ends:
            raise InvalidField(_FIELD, "this model has no token that ends an answer; send text")
        try:
            return LLTokenizer(
                self._tokenizer.backend_tokenizer.to_str(),
                n_vocab=max(self._vocabulary, len(self._tokenizer)),
                eos_token=sorted(self._ends),
                slices=LLTokenizer.json_slices(),
            )
        except ValueError as error:
            raise InvalidField(
                _FIELD, f"this model's tokenizer is of a kind that only writes text: {error}"
            ) from error


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise _refused(matcher.get_error())


def _refused(why: str) -> InvalidField:
    return InvalidField(_FIELD, f"this schema cannot be followed: {why[:_MOST_TOLD]}")
