"""From what a request says to the token ids the model reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2.exceptions import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.errors import ContextTooLong, InvalidField
from app.query.schemas import Message


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

    @classmethod
    def for_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_chars: int,
        max_tokens: int,
    ) -> "PromptEncoder":
        """The encoder that knows this model's limits."""
        config = model.config.get_text_config()
        return cls(
            tokenizer=tokenizer,
            max_chars=max_chars,
            max_tokens=max_tokens,
            context=getattr(config, "max_position_embeddings", None),
            vocabulary=int(config.vocab_size),
        )

    def encode(self, prompt: str | Sequence[int], field: str) -> list[int]:
        """Token ids of one prompt, at least one.

        Raises:
            InvalidField: The prompt is too long or empty, or an id is not in the vocabulary.
        """
        if isinstance(prompt, str):
            return self._encode_text(prompt, field, add_special_tokens=True)
        self._check_tokens(len(prompt), field)
        for token in prompt:
            if not 0 <= token < self.vocabulary:
                raise InvalidField(
                    field, f"token id {token} is not in the vocabulary: 0 to {self.vocabulary - 1}"
                )
        return list(prompt)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the assistant is to speak.

        Raises:
            InvalidField: The model has no chat template, the template refuses the messages, or they
                are too long.
        """
        if self.tokenizer.chat_template is None:
            raise InvalidField(
                "model", "this model has no chat template; use POST /v1/completions instead"
            )
        spoken = [{"role": message.role, "content": message.text} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                spoken, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise InvalidField(
                "messages", f"the model's chat template refuses these messages: {error}"
            ) from error
        # The template has written the special tokens already.
        return self._encode_text(str(text), "messages", add_special_tokens=False)

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

    def room_after(self, tokens: int) -> int | None:
        """How many tokens may follow a prompt of this length; None if there is no limit."""
        return None if self.context is None else self.context - tokens

    def _encode_text(self, text: str, field: str, *, add_special_tokens: bool) -> list[int]:
        self.check_characters(text, field)
        ids: list[int] = self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
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
