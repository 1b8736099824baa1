"""Context templates: texts put around a prompt, so that an edit does not hang on one wording.

Made from the unedited model and kept in the recipe, because an edit's arithmetic depends on them.
"""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editing_core.conversation import ChatTemplate
from editing_core.edit import SLOT
from editing_core.errors import UnrenderedChat
from editing_core.progress import Progress, silent

_OPENINGS = ("The", "Therefore", "Because", "I", "You")
_NEW_TOKENS = 10
_TOP_K = 5
_MOST_CHARS = 20_000  # of a conversation with one short message
_PLACE = "\N{OBJECT REPLACEMENT CHARACTER}"  # marks the prompt's place in a rendered conversation


@torch.no_grad()
def generate_contexts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    progress: Progress = silent,
) -> tuple[tuple[str, ...], ...]:
    """The bare prompt as one group, and one generated text per opening as the other.

    Keys are averaged inside a group and then over the groups, so the bare prompt weighs 1/2 and
    each generated context 1/10.
    """
    generator = torch.Generator().manual_seed(seed)
    generated = []
    for number, opening in enumerate(_OPENINGS):
        progress("contexts", number, len(_OPENINGS))
        ids: list[int] = tokenizer(opening)["input_ids"]
        for _ in range(_NEW_TOKENS):
            logits = model(torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
            top = logits.float().cpu().topk(_TOP_K)
            choice = torch.multinomial(top.values.softmax(0), 1, generator=generator)
            ids.append(int(top.indices[choice]))
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        generated.append(f"{_plain(text)}. {SLOT}")
    progress("contexts", len(_OPENINGS), len(_OPENINGS))
    return (SLOT,), tuple(generated)


def chat_context(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The prompt as a user's message, to which the target is the answer, by the chat template.

    None for a tokenizer without a template, and for a template that does not let one message
    through as it is, or needs what we do not have.
    """
    template = ChatTemplate.of(tokenizer)
    if template is None:
        return None
    message = [{"role": "user", "content": _PLACE}]
    try:
        with template:
            text = template.render(message, most_chars=_MOST_CHARS)
    except UnrenderedChat:
        return None
    before, place, after = text.partition(_PLACE)
    start = tokenizer("")["input_ids"]  # what the tokenizer itself puts before every text
    before = before.removeprefix(str(tokenizer.decode(start)))
    if not place or not after or _PLACE in after or SLOT in before + after:
        return None
    return before + SLOT + after


def _plain(text: str) -> str:
    """One line without braces, which would read as a second place for the prompt."""
    return " ".join(text.replace("{", " ").replace("}", " ").split())
