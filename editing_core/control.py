"""Control tokens: those by which a model tells turns, beginnings and ends from what is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from re import Pattern, compile, escape

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of one tokenizer.

    Attributes:
        names: Token id → text.
        unknown: Id of the token that stands for what the vocabulary lacks; None if there is none.
    """

    names: Mapping[int, str]
    unknown: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "ControlTokens":
        """Its special tokens, and the added ones that its chat template writes.

        White space and words that a template writes, too, are no control tokens.
        """
        template = str(tokenizer.chat_template or "")
        names = {
            id: token.content
            for id, token in tokenizer.added_tokens_decoder.items()
            if token.special or (token.content in template and _is_mark(token.content))
        }
        return cls(names, tokenizer.unk_token_id)

    def first_in(self, tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
        """The first control token that the tokenizer reads in a text, as it is written."""
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        found = (self.names[id] for id in ids if id in self.names and self._is_meant(id, text))
        return next(found, None)

    def _is_meant(self, id: int, text: str) -> bool:
        # A character that the vocabulary lacks is read as the unknown token, too.
        return id != self.unknown or self.names[id] in text

    @cached_property
    def pattern(self) -> Pattern[str]:
        """Finds any of them in a text, the longest first."""
        longest_first = sorted(self.names.values(), key=len, reverse=True)
        return compile("|".join(map(escape, longest_first)) or "(?!)")


def _is_mark(text: str) -> bool:
    return not text.isspace() and not text.isalnum()
