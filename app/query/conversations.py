"""From a conversation to the token ids the model reads, on a thread of its own."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

from app.errors import InvalidField
from app.query.messages import Message
from app.query.prompts import PromptEncoder
from editing_core.control import ControlTokens
from editing_core.conversation import ChatTemplate
from editing_core.errors import UnrenderedChat


class Conversations:
    """Encodes conversations by the model's chat template.

    Control tokens are the template's to write: in what is said they stay text. On a thread of its
    own, so that a template that takes long keeps neither the event loop nor other prompts waiting.

    Args:
        tokenizer: For that thread alone.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._control = ControlTokens.of(tokenizer)
        self._template = ChatTemplate.of(tokenizer)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="conversations")

    async def encode(
        self,
        encoder: PromptEncoder,
        messages: Sequence[Message],
        *,
        opens_turn: bool = True,
        continues: bool = False,
    ) -> list[int]:
        """Token ids of a conversation, up to where the model is to speak.

        Args:
            encoder: Knows the model's limits.
            messages: What was said.
            opens_turn: Whether a new turn of the assistant begins there.
            continues: Whether the last message goes on there.

        Raises:
            InvalidField: The model has no chat template, the template does not render the messages,
                or they are too long.
        """
        work = partial(self._encode, encoder, messages, opens_turn, continues)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread; a conversation that is being encoded is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._template is not None:
            self._template.close()
        self._thread.shutdown(wait=True)

    def _encode(
        self,
        encoder: PromptEncoder,
        messages: Sequence[Message],
        opens_turn: bool,
        continues: bool,
    ) -> list[int]:
        spoken = [
            self._spoken(f"messages[{place}]", message) for place, message in enumerate(messages)
        ]
        text = self._rendered(spoken, encoder.max_chars, opens_turn, continues)
        try:
            ids: list[int] = encode_marked_chat(self._tokenizer, text)
        except ValueError as error:  # this tokenizer cannot read one of its tokens as text
            raise InvalidField("messages", f"messages have a control token: {error}") from error
        return encoder.checked(ids, "messages")

    def _spoken(self, field: str, message: Message) -> dict[str, str]:
        spoken = {
            "role": message.speaker,
            "content": self._marked(f"{field}.content", message.text),
        }
        if message.name is not None:
            spoken["name"] = self._marked(f"{field}.name", message.name)
        return spoken

    def _marked(self, field: str, text: str) -> str:
        """What is said, with marks around what looks like a control token.

        Raises:
            InvalidField: The tokenizer makes a control token of other characters.
        """
        pattern = self._control.pattern
        token = self._control.first_in(self._tokenizer, pattern.sub(" ", text))
        if token is not None:
            raise InvalidField(field, f"{field} reads as the control token {token!r}")
        return str(mark_control_tokens(text, pattern))

    def _rendered(
        self,
        spoken: Sequence[dict[str, str]],
        most_chars: int,
        opens_turn: bool,
        continues: bool,
    ) -> str:
        if self._template is None:
            raise InvalidField(
                "model", "this model has no chat template; use POST /v1/completions instead"
            )
        try:
            return self._template.render(
                spoken, most_chars=most_chars, opens_turn=opens_turn, continues=continues
            )
        except UnrenderedChat as error:
            raise InvalidField("messages", f"the model's chat template {error}") from error
