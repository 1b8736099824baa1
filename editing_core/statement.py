"""A statement: a prompt and what follows it, as they stand in running text, and as tokens.

Every place that trains, measures or judges a continuation makes its tokens here, so that all of
them speak of the same text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from editing_core.beginning import begun_once
from editing_core.errors import InvalidEdit
from editing_core.separator import separator_of


class Statement(NamedTuple):
    """A prompt and its continuation.

    Attributes:
        prompt: The text before.
        target: The text that is to follow.
        separator: What stands between them; None for what running text has there.
    """

    prompt: str
    target: str
    separator: str | None = None

    @property
    def between(self) -> str:
        """The separator, or what running text has in its place."""
        if self.separator is None:
            return separator_of(self.prompt, self.target)
        return self.separator

    @property
    def continuation(self) -> str:
        """Everything after the prompt."""
        return self.between + self.target


Question = tuple[str, str] | Statement
"""A statement, or its prompt and target."""


@dataclass(frozen=True)
class Tokens:
    """A statement as a model reads it.

    Attributes:
        prompt: Token ids of the prompt, as it is read when it is asked alone.
        target: Token ids of the continuation, its separator included; at least one.
        across: Text of the token that the tokenizer would put across the end of the prompt if it
            read both together; None where there is none.
        moved: The part of it that belongs to the prompt.
    """

    prompt: list[int]
    target: list[int]
    across: str | None = None
    moved: str = ""

    def require_boundary(self) -> None:
        """Refuse a prompt that ends inside a token of the finished text.

        Raises:
            InvalidEdit: It does; asked alone, it is another text to the model than in a sentence.
        """
        if self.across is not None:
            raise InvalidEdit(
                "target",
                f"the tokenizer of this model reads {self.across!r} as one token, which begins in "
                f"the prompt; move {self.moved!r} from the prompt's end to the target's beginning, "
                'with "separator": ""',
            )


def tokens_of(tokenizer: PreTrainedTokenizerBase, statement: Question) -> Tokens:
    """The tokens of one statement.

    Raises:
        InvalidEdit: The target has none.
    """
    return all_tokens_of(tokenizer, [statement])[0]


def all_tokens_of(
    tokenizer: PreTrainedTokenizerBase, statements: Sequence[Question]
) -> list[Tokens]:
    """The tokens of each statement, in order.

    Prompt and continuation are read together and parted where the prompt ends. Where the
    tokenizer will not part them there, the continuation is read by itself, and ``across`` says so.

    Raises:
        InvalidEdit: A target has none.
    """
    if not statements:
        return []
    whole = [Statement(*statement) for statement in statements]
    prompts: list[list[int]] = tokenizer([one.prompt for one in whole])["input_ids"]
    joint = tokenizer([one.prompt + one.continuation for one in whole], return_offsets_mapping=True)
    return [
        _parted(tokenizer, *one)
        for one in zip(whole, prompts, joint["input_ids"], joint["offset_mapping"], strict=True)
    ]


def _parted(
    tokenizer: PreTrainedTokenizerBase,
    statement: Statement,
    prompt: list[int],
    ids: list[int],
    offsets: Sequence[tuple[int, int]],
) -> Tokens:
    if not statement.target.strip():
        raise _without_tokens()
    prompt, read = begun_once(tokenizer, prompt), begun_once(tokenizer, ids)
    ids, offsets = read, offsets[len(ids) - len(read) :]
    boundary = len(statement.prompt)
    following = [place for place, (_, end) in enumerate(offsets) if end > boundary]
    if not following:
        raise _without_tokens()
    start = offsets[following[0]][0]
    if start >= boundary or ids[: following[0]] == prompt:
        return Tokens(prompt, [ids[place] for place in following])
    end = max(offsets[place][1] for place in following if offsets[place][0] < boundary)
    text = statement.prompt + statement.continuation
    own: list[int] = tokenizer(statement.continuation, add_special_tokens=False)["input_ids"]
    if not own:
        raise _without_tokens()
    return Tokens(prompt, own, across=text[start:end], moved=text[start:boundary])


def _without_tokens() -> InvalidEdit:
    return InvalidEdit("target", "target has no tokens in this model's vocabulary")
