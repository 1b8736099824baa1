"""Conversations as the text that a model reads, by its chat template."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import Lock, Timer
from types import TracebackType
from typing import Self

from transformers import PreTrainedTokenizerBase

from editing_core.errors import UnrenderedChat

Messages = Sequence[Mapping[str, str]]
"""What was said: `role` and `content` of each turn, and `name` where it has one."""

_WALL_S = 60.0  # the process bounds its own time; this is for one that gets no processor
_LINE_BYTES = 5_000  # of an answer beside its text
_ESCAPED = 12  # bytes of a character in ASCII JSON
_PROCESS = "editing_core.rendering"


class ChatTemplate:
    """A model's chat template, rendered in a process of its own.

    The template came with the model, and a sandbox bounds neither its time nor its memory; so it is
    run where both are bounded and where it can be killed. The process starts with the first
    conversation and waits for the next; one that died is replaced.

    Args:
        source: The template.
        variables: The special tokens that it may name.
    """

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self._template = json.dumps({"source": source, "variables": dict(variables)})
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "ChatTemplate | None":
        """The tokenizer's own; None if it has none, or several and no default."""
        if not tokenizer.chat_template:
            return None
        try:
            source = tokenizer.get_chat_template()
        except ValueError:
            return None
        return cls(source, tokenizer.special_tokens_map)

    def render(
        self,
        messages: Messages,
        *,
        most_chars: int,
        opens_turn: bool = True,
        continues: bool = False,
    ) -> str:
        """The conversation up to where the assistant is to speak.

        Args:
            messages: What was said.
            most_chars: How long the text may be.
            opens_turn: Whether it ends with the opening of a turn of the assistant.
            continues: Whether it ends with the last message, which goes on; not both.

        Raises:
            UnrenderedChat: The template refuses it, fails on it, needs more time or memory than it
                may have, or makes more of it than `most_chars`.
        """
        asked = json.dumps(
            {
                "messages": [dict(message) for message in messages],
                "most_chars": most_chars,
                "add_generation_prompt": opens_turn,
                "continue_final_message": continues,
            }
        )
        with self._lock:
            if self._closed:
                raise UnrenderedChat("is no longer in use")
            answer = self._ask(asked, most_chars)
        kind, told = json.loads(answer)
        if kind == "text":
            return str(told)
        if kind == "long":
            raise UnrenderedChat(
                f"makes {told} characters of these messages; at most {most_chars} are accepted"
            )
        verb = "refuses" if kind == "refused" else "cannot render"
        raise UnrenderedChat(f"{verb} these messages: {told}")

    def close(self) -> None:
        """End the process; whatever is or would be rendered is given up."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, asked: str, most_chars: int) -> str:
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - opened as pipes
        assert process.stdout is not None  # noqa: S101
        watchdog = Timer(_WALL_S, process.kill)
        watchdog.start()
        try:
            process.stdin.write(asked + "\n")
            process.stdin.flush()
            answer = process.stdout.readline(most_chars * _ESCAPED + _LINE_BYTES)
        except OSError:  # it died before it had read everything
            answer = ""
        finally:
            watchdog.cancel()
        if not answer.endswith("\n"):
            self._end()
            raise UnrenderedChat(
                "takes more time or memory than it may have to render these messages"
            )
        return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", _PROCESS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="ascii",
                start_new_session=True,  # a Ctrl-C is for the one who started us
            )
            assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
            self._process.stdin.write(self._template + "\n")
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
