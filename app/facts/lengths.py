"""What the texts of an edit may be: so long, as the model reads them, and no control tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from transformers import PreTrainedTokenizerBase

from app.errors import InvalidField
from app.facts.control import refuse_control_tokens
from app.facts.text import EditText
from editing_core.control import ControlTokens
from editing_core.edit import SLOT
from editing_core.errors import InvalidEdit
from editing_core.reach import Reach
from editing_core.sink import statement_of
from editing_core.statement import Statement, tokens_of


@dataclass(frozen=True)
class Lengths:
    """What the operator allows.

    Attributes:
        tokenizer: A copy of the model's that nobody else uses.
        control: The model's control tokens.
        max_prompt_tokens: Longest prompt, paraphrase, and prompt of a neighbour.
        max_target_tokens: Longest target.
        reach: What the model can be given.
        contexts: Gives the texts that an edit is written in, with `{}` for its prompt.
    """

    tokenizer: PreTrainedTokenizerBase
    control: ControlTokens
    max_prompt_tokens: int
    max_target_tokens: int
    reach: Reach = field(default_factory=Reach)
    contexts: Callable[[], Sequence[str]] = lambda: (SLOT,)
    _turn: Lock = field(default_factory=Lock, repr=False)  # a call may set what another reads

    def check(self, text: EditText) -> None:
        """Make sure that the model can be given every text, and that none is longer than allowed.

        Raises:
            InvalidField: One is too long, has a control token, or ends inside a token of what
                follows it; or the target has no tokens at all.
        """
        edited = text.as_edited()
        with self._turn:
            refuse_control_tokens(self.control, self.tokenizer, edited)
            for name, statement in edited.statements:
                self._check_statement(name, statement)
            try:
                self.reach.check_edit(self.tokenizer, text.edit(""), self.contexts())
            except InvalidEdit as error:
                raise InvalidField(error.field, str(error)) from error

    def statement(self, text: EditText) -> Statement:
        """The text by which a fact is measured; see `editing_core.sink`."""
        edit = text.edit("")
        try:
            with self._turn:
                return statement_of(self.tokenizer, edit)
        except InvalidEdit:  # of words that this model cannot read
            return edit.statement

    def _check_statement(self, name: str, statement: Statement) -> None:
        target = "target" if name == "prompt" else name
        try:
            tokens = tokens_of(self.tokenizer, statement)
            tokens.require_boundary()
            _check(name, len(tokens.prompt), self.max_prompt_tokens)
            self.reach.check(tokens.prompt + tokens.target, name)
        except InvalidEdit as error:
            at = target if error.field == "target" else error.field
            raise InvalidField(at, str(error)) from error
        if name == "prompt":
            _check("target", len(tokens.target), self.max_target_tokens)


def _check(name: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise InvalidField(name, f"{name} has {tokens} tokens; at most {most} are accepted")
