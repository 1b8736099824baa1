"""From token ids back to text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_CONTEXT_TOKENS = 4  # enough to complete a character that was split over tokens
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], *, special: bool) -> str:
    """The text of the tokens; `special` keeps end marks and the like."""
    text = tokenizer.decode(
        list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False
    )
    if not isinstance(text, str):
        raise TypeError(f"the tokenizer decoded one sequence to {type(text).__name__}, not to str")
    return text


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """One token as text, distinct for distinct tokens.

    A token that holds only part of a character has no text of its own; it is shown as the
    vocabulary spells it, because clients compare these strings to find the arg-max.
    """
    text = decode(tokenizer, [token], special=True)
    return str(tokenizer.convert_ids_to_tokens(token)) if _REPLACEMENT in text else text


class Detokenizer:
    """Decodes what follows one prompt, token by token, and never gives out half a character.

    Some tokenizers drop a leading space when a text begins, so new tokens are decoded behind the
    tokens before them and those tokens' share is cut off.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._context = list(prompt[-_CONTEXT_TOKENS:])
        self._held: list[int] = []

    def add(self, token: int) -> str:
        """The text that is certain once this token is known; empty within a character."""
        self._held.append(token)
        text = self._fresh()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._context, self._held = self._held[-_CONTEXT_TOKENS:], []
        return text

    def rest(self) -> str:
        """The text of what was held back, because no further token comes."""
        return self._fresh() if self._held else ""

    def _fresh(self) -> str:
        before = decode(self._tokenizer, self._context, special=False)
        whole = decode(self._tokenizer, [*self._context, *self._held], special=False)
        if whole.startswith(before):
            return whole[len(before) :]
        return decode(self._tokenizer, self._held, special=False)
