"""What the texts of an edit may be: so long, as the model reads them, and no control tokens."""

from dataclasses import dataclass, field
from threading import Lock

from transformers import PreTrainedTokenizerBase

from app.edits.control import refuse_control_tokens
from app.edits.text import EditText
from app.errors import InvalidField
from editing_core.control import ControlTokens
from editing_core.edit import target_tokens
from editing_core.errors import InvalidEdit


@dataclass(frozen=True)
class Lengths:
    """What the operator allows.

    Attributes:
        tokenizer: A copy of the model's that nobody else uses.
        control: The model's control tokens.
        max_prompt_tokens: Longest prompt, paraphrase, and prompt of a neighbour.
        max_target_tokens: Longest target.
    """

    tokenizer: PreTrainedTokenizerBase
    control: ControlTokens
    max_prompt_tokens: int
    max_target_tokens: int
    _turn: Lock = field(default_factory=Lock, repr=False)  # a call may set what another reads

    def check(self, text: EditText) -> None:
        """Make sure that no text is too long or has a control token.

        Raises:
            InvalidField: One is or has, or the target has no tokens at all.
        """
        with self._turn:
            self._check_prompt("prompt", text.filled)
            for index, paraphrase in enumerate(text.paraphrases):
                self._check_prompt(f"paraphrases[{index}]", paraphrase)
            for index, neighbour in enumerate(text.neighbours):
                self._check_prompt(f"neighbours[{index}].prompt", neighbour.prompt)
            self._check_target(text.target)
            refuse_control_tokens(self.control, self.tokenizer, text)

    def _check_prompt(self, name: str, prompt: str) -> None:
        _check(name, len(self.tokenizer(prompt)["input_ids"]), self.max_prompt_tokens)

    def _check_target(self, target: str) -> None:
        try:
            tokens = len(target_tokens(self.tokenizer, target))
        except InvalidEdit as error:
            raise InvalidField(error.field, str(error)) from error
        _check("target", tokens, self.max_target_tokens)


def _check(name: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise InvalidField(name, f"{name} has {tokens} tokens; at most {most} are accepted")
