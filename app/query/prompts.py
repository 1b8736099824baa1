"""From what a request says to the token ids the model reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.errors import ContextTooLong, InvalidField
from editing_core.beginning import begun_once


@dataclass(frozen=True)
class PromptEncoder:
    """Turns prompts into token ids that the model can take."""

    tokenizer: PreTrainedTokenizerBase
    max_chars: int
    """Longest text of one prompt."""
    max_tokens: int
    """The same in tokens."""
    context: int | None
    """Positions the model has for prompt and answer together; None if it has no fixed number."""
    vocabulary: int
    cuts_answers: bool = False
    """Whether an answer that is too long for the context is cut to it, instead of refused."""

    @classmethod
    def for_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_chars: int,
        max_tokens: int,
        cuts_answers: bool = False,
    ) -> "PromptEncoder":
        """The encoder that knows this model's limits."""
        config = model.config.get_text_config()
        return cls(
            tokenizer=tokenizer,
            max_chars=max_chars,
            max_tokens=max_tokens,
            context=getattr(config, "max_position_embeddings", None),
            vocabulary=int(config.vocab_size),
            cuts_answers=cuts_answers,
        )

    def encode(
        self, prompt: str | Sequence[int], field: str, *, add_special_tokens: bool = True
    ) -> list[int]:
        """Token ids of one prompt, at least one.

        Args:
            prompt: Text or ids.
            field: Where it was sent.
            add_special_tokens: Whether the tokenizer puts its marks around a text.

        Raises:
            InvalidField: The prompt is too long or empty, or an id is not in the vocabulary.
        """
        if isinstance(prompt, str):
            self.check_characters(prompt, field)
            ids = self.tokenizer(prompt, add_special_tokens=add_special_tokens)["input_ids"]
            ids = begun_once(self.tokenizer, ids) if add_special_tokens else ids
            return self.checked(ids, field)
        self._check_tokens(len(prompt), field)
        for token in prompt:
            self.check_token(token, field)
        return list(prompt)

    def check_token(self, token: int, field: str) -> None:
        """Make sure that the model has a token.

        Raises:
            InvalidField: It has not.
        """
        if not 0 <= token < self.vocabulary:
            raise InvalidField(
                field, f"token id {token} is not in the vocabulary: 0 to {self.vocabulary - 1}"
            )

    def check_characters(self, text: str, field: str) -> None:
        """Make sure that a text is not too long to be read at all.

        Raises:
            InvalidField: It is.
        """
        if len(text) > self.max_chars:
            raise InvalidField(
                field, f"{len(text)} characters are too many; at most {self.max_chars} are accepted"
            )

    def check_room(self, tokens: int, new_tokens: int, field: str) -> None:
        """Make sure that the prompt and all new tokens fit into the model's context.

        Raises:
            ContextTooLong: They do not.
        """
        if self.context is not None and tokens + new_tokens > self.context:
            raise ContextTooLong(field, tokens=tokens, new_tokens=new_tokens, context=self.context)

    def granted(self, tokens: int, new_tokens: int, field: str) -> int:
        """How many of so many new tokens may be generated after a prompt.

        Raises:
            ContextTooLong: They do not fit into the model's context, and are not cut to it.
        """
        room = self.room_after(tokens)
        if self.cuts_answers and room is not None:
            new_tokens = min(new_tokens, max(1, room))
        self.check_room(tokens, new_tokens, field)
        return new_tokens

    def longest_answer(self, new_tokens: int) -> int:
        """How many of so many new tokens may be generated after any prompt."""
        if self.context is None or not self.cuts_answers:
            return new_tokens
        return min(new_tokens, self.context)

    def room_after(self, tokens: int) -> int | None:
        """How many tokens may follow a prompt of this length; None if there is no limit."""
        return None if self.context is None else self.context - tokens

    def checked(self, ids: list[int], field: str) -> list[int]:
        """The token ids of a text, or of the beginning of any if it has none.

        Raises:
            InvalidField: They are too many, or none that the model could begin with.
        """
        if ids:
            self._check_tokens(len(ids), field)
            return ids
        if self.tokenizer.bos_token_id is None:
            raise InvalidField(field, "an empty prompt gives this model nothing to continue")
        return [int(self.tokenizer.bos_token_id)]

    def _check_tokens(self, tokens: int, field: str) -> None:
        if tokens > self.max_tokens:
            raise InvalidField(
                field, f"{field} has {tokens} tokens; at most {self.max_tokens} are accepted"
            )
