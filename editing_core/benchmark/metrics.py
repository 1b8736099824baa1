"""CounterFact and ZsRE, measured as ROME (arXiv 2202.05262) and MEMIT (2210.07229) do.

Every number is averaged inside a case first, then over the cases, and given in percent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from editing_core.benchmark.forcing import Forced, Question, force
from editing_core.benchmark.record import Record
from editing_core.contexts import chat_context
from editing_core.edit import SLOT
from editing_core.model.packed import PackedModel
from editing_core.progress import Progress, silent


@dataclass(frozen=True)
class Metrics:
    """What a model makes of the edits of some records; percentages, None where nothing was asked.

    CounterFact: the plain ones are *success* (P(new) > P(true), the reverse on neighbours, by the
    geometric mean over tokens), as AlphaEdit's paper reports; SPHERE's reports accuracy.
    ZsRE: the plain ones are the share of target tokens that are the arg-max; specificity is
    against the gold answer, so the unedited model's own knowledge bounds it.
    Everywhere, *accuracy* means that all target tokens are the arg-max under teacher forcing: the
    new target on edits and paraphrases, the true answer on neighbours.

    Attributes:
        efficacy: On the edits' own prompts.
        generalization: On their paraphrases.
        specificity: On their neighbours.
        efficacy_accuracy: Accuracy on the edits' own prompts.
        generalization_accuracy: Accuracy on their paraphrases.
        specificity_accuracy: Accuracy on their neighbours.
        chat_efficacy: As efficacy, with the prompt as a user's message and the target as the
            answer; None for a model without a chat template.
        chat_efficacy_accuracy: Its accuracy.
    """

    efficacy: float | None
    generalization: float | None
    specificity: float | None
    efficacy_accuracy: float | None
    generalization_accuracy: float | None
    specificity_accuracy: float | None
    chat_efficacy: float | None = None
    chat_efficacy_accuracy: float | None = None


_Answers = Mapping[Question, Forced]
_Judge = Callable[[_Answers, Record, str, str], float]


def measure(
    packed: PackedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    *,
    progress: Progress = silent,
    step: str = "evaluate",
) -> Metrics:
    """Measure the model on ``records``, all of whose edits should have been made."""
    questions = (question for record in records for question in _questions(record))
    answers = force(packed, tokenizer, questions, progress=progress, step=step)
    edits = [[(record.edit.filled, record.edit.target)] for record in records]
    paraphrases = [
        [(prompt, record.edit.target) for prompt in record.paraphrases] for record in records
    ]
    neighbours = [[(n.prompt, n.answer) for n in record.neighbours] for record in records]

    context = chat_context(tokenizer)
    chats: list[list[Question]] = [[] for _ in records]
    if context is not None:
        chats = [[(context.replace(SLOT, prompt), target)] for ((prompt, target),) in edits]
        asked_in_chat = (
            (prompt, answer)
            for record, ((prompt, target),) in zip(records, chats, strict=True)
            for answer in (target, record.target_true)
            if answer is not None
        )
        chat_step = f"{step}, in chat"
        answers |= force(
            packed, tokenizer, asked_in_chat, opens_turn=True, progress=progress, step=chat_step
        )

    def mean(asked: Sequence[Sequence[Question]], judge: _Judge) -> float | None:
        cases = zip(records, asked, strict=True)
        return _percent([judge(answers, r, *q) for q in case] for r, case in cases)

    return Metrics(
        efficacy=mean(edits, _prefers_new),
        generalization=mean(paraphrases, _prefers_new),
        specificity=mean(neighbours, _prefers_answer),
        efficacy_accuracy=mean(edits, _all_tokens),
        generalization_accuracy=mean(paraphrases, _all_tokens),
        specificity_accuracy=mean(neighbours, _all_tokens),
        chat_efficacy=mean(chats, _prefers_new),
        chat_efficacy_accuracy=mean(chats, _all_tokens),
    )


def _questions(record: Record) -> Iterable[Question]:
    compared = record.target_true is not None
    for prompt in (record.edit.filled, *record.paraphrases):
        yield prompt, record.edit.target
        if record.target_true is not None:
            yield prompt, record.target_true
    for neighbour in record.neighbours:
        yield neighbour.prompt, neighbour.answer
        if compared:
            yield neighbour.prompt, record.edit.target


def _prefers_new(answers: _Answers, record: Record, prompt: str, target: str) -> float:
    if record.target_true is None:
        return answers[prompt, target].share
    return float(answers[prompt, record.target_true].nll > answers[prompt, target].nll)


def _prefers_answer(answers: _Answers, record: Record, prompt: str, answer: str) -> float:
    if record.target_true is None:
        return answers[prompt, answer].share
    return float(answers[prompt, answer].nll < answers[prompt, record.edit.target].nll)


def _all_tokens(answers: _Answers, _record: Record, prompt: str, target: str) -> float:
    return float(answers[prompt, target].match)


def _percent(cases: Iterable[Sequence[float]]) -> float | None:
    """Mean over the cases of the mean inside each; cases without a value do not count."""
    means = [sum(case) / len(case) for case in cases if case]
    return 100 * sum(means) / len(means) if means else None
