"""Control tokens have no place in an edit: it would change what tells turns of a talk apart."""

from transformers import PreTrainedTokenizerBase

from app.errors import InvalidField
from app.facts.text import EditText
from editing_core.control import ControlTokens


def refuse_control_tokens(
    control: ControlTokens, tokenizer: PreTrainedTokenizerBase, text: EditText
) -> None:
    """Make sure that the model reads no control token in the words of an edit.

    Raises:
        InvalidField: It does; the message names the token.
    """
    for field, words in text.read():
        token = control.first_in(tokenizer, words)
        if token is not None:
            raise InvalidField(
                field, f"{field} has the control token {token!r} of this model; write it without"
            )
