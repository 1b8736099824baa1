"""The attention sink: the first position of a text, where no fact can be written.

Models send attention that is to go nowhere to the first position, whatever stands there, so the
keys of all subjects are one key in that place (docs/decisions/solving.md). A tokenizer that begins
every text with a token of its own keeps subjects away from it. Otherwise, a fact whose prompt
begins with a subject of one token is written and measured with a line break before it.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from editing_core.edit import SLOT, Edit, tokenise
from editing_core.statement import Statement

_BREAK, _STOP = f"\n{SLOT}", f". {SLOT}"  # the other one for tokenizers that drop the first


def bare_context(tokenizer: PreTrainedTokenizerBase, edit: Edit) -> str:
    """The context of the prompt alone: nothing, or what keeps its subject out of the sink.

    Raises:
        InvalidEdit: No token covers the subject, or the target has none.
    """
    if not edit.template.startswith(SLOT):
        return SLOT
    found = (c for c in (SLOT, _BREAK, _STOP) if tokenise(tokenizer, edit, c).subject_last > 0)
    return next(found, SLOT)


def statement_of(tokenizer: PreTrainedTokenizerBase, edit: Edit) -> Statement:
    """The text by which an edit is measured: its prompt in the bare context, and its target.

    Raises:
        InvalidEdit: No token covers the subject, or the target has none.
    """
    prompt = bare_context(tokenizer, edit).replace(SLOT, edit.filled)
    return Statement(prompt, edit.target, edit.statement.between)


def contexts_of(
    tokenizer: PreTrainedTokenizerBase, edit: Edit, contexts: Sequence[str]
) -> tuple[str, ...]:
    """These contexts, with the bare one as it is for this edit.

    Raises:
        InvalidEdit: No token covers the subject, or the target has none.
    """
    bare = bare_context(tokenizer, edit)
    return tuple(bare if context == SLOT else context for context in contexts)
