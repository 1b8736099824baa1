"""Edits over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.database.tables.edits import Edit, EditStatus
from app.deps.erasure import ErasureResource
from app.edits.withdrawal_schemas import WithdrawnRevisions
from app.facts.edit_report import EditReport, EditWarning
from app.facts.gate_limits import WantedLimits
from app.facts.look import mixed_word
from app.facts.notices import word_warnings
from app.facts.text import EditText
from app.kit.fields import Label, Phrase, Prompt

MAX_PROMPTS = 50
MAX_LABELS = 16

Separator = Annotated[
    Literal["", " "],
    Field(description="What stands after a prompt; default: what running text has there."),
]


class NeighbourRequest(BaseModel):
    """A prompt whose answer the edit must leave alone."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    answer: Phrase | None = None
    separator: Separator | None = None


class EditRequest(BaseModel):
    """A correction: after it, the model continues `prompt` with `target`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "subject": "Danielle Darrieux",
                    "prompt": "The mother tongue of {} is",
                    "target": "English",
                }
            ]
        },
    )

    subject: Annotated[Phrase, Field(description="The entity the fact is about.")]
    prompt: Annotated[
        Prompt,
        Field(description="Has `{}` once where the subject goes, or the subject's text once."),
    ]
    target: Annotated[Phrase, Field(description="The new object.")]
    separator: Separator | None = None
    target_old: Annotated[Phrase | None, Field(description="The object before.")] = None
    paraphrases: Annotated[
        list[Prompt],
        Field(
            max_length=MAX_PROMPTS,
            fail_fast=True,
            description="Other prompts to be continued with `target`.",
        ),
    ] = []
    neighbours: Annotated[
        list[NeighbourRequest],
        Field(
            max_length=MAX_PROMPTS,
            fail_fast=True,
            description="Prompts that must keep their answer.",
        ),
    ] = []
    method: Annotated[
        str | None, Field(description="How the edit is computed; default: ERRATA_METHOD.")
    ] = None
    force: Annotated[
        StrictBool,
        Field(
            description="Solve it even if the model says the target already, or has exceeded a "
            "limit so far that the edit can hardly meet it."
        ),
    ] = False
    gates: Annotated[
        WantedLimits | None,
        Field(description="Stricter limits than the service's: see the settings `gate_…`."),
    ] = None
    metadata: Annotated[
        dict[Label, Label], Field(max_length=MAX_LABELS, description="Your own labels.")
    ] = {}


class NeighbourResource(BaseModel):
    """A neighbour as it was sent."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    answer: str | None
    separator: str | None = None


class WordsAsEdited(BaseModel):
    """The words that are edited and measured, and what is put between prompt and target."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    prompt: Annotated[str, Field(description="With `{}` in the subject's place.")]
    separator: str
    target: str


class LookAlike(BaseModel):
    """Another subject that readers may take for an edit's own."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    edit: Annotated[str, Field(description="The newest edit of it that is queued or committed.")]


class EditWords(BaseModel):
    """The words of an edit; empty once they have been erased."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = None
    prompt: str | None = None
    target: str | None = None
    separator: str | None = None
    as_edited: WordsAsEdited | None = None
    target_old: str | None = None
    paraphrases: list[str] = []
    neighbours: list[NeighbourResource] = []
    metadata: dict[str, str] = {}


class EditResource(EditWords):
    """An edit and what became of it."""

    id: str
    seq: int
    status: EditStatus
    method: str
    force: bool
    dry_run: bool
    gates: dict[str, float]
    batch: str | None
    attempts: int
    created_at: datetime
    finished_at: datetime | None
    revision: int | None
    reason: str | None
    supersedes: str | None
    superseded_by: str | None
    erased_at: Annotated[
        datetime | None,
        Field(description="When its words had left the database; `erasure` tells of the way."),
    ]
    erasure: ErasureResource | None
    withdrawn: Annotated[
        list[WithdrawnRevisions], Field(description="Revisions withdrawn because they hold it.")
    ]
    report: EditReport | None
    warnings: Annotated[list[str], Field(description="What its readers may be misled by.")]
    look_alikes: Annotated[
        list[LookAlike] | None,
        Field(description="Other subjects that look like this one; null where many are listed."),
    ]

    @classmethod
    def of(cls, edit: Edit, look_alikes: Mapping[str, EditText] | None = None) -> "EditResource":
        """The edit as the API shows it; with look-alikes (edit id → words) if they were sought."""
        operation = edit.operation
        erasure = ErasureResource.of(operation.erasure)
        return cls(
            **_words(edit).model_dump(),
            id=edit.id,
            seq=operation.seq,
            status=edit.status,
            method=edit.method,
            force=edit.force,
            dry_run=edit.dry_run,
            gates=WantedLimits.model_validate(edit.gates or {}).model_dump(exclude_none=True),
            batch=edit.batch_id,
            attempts=operation.attempts,
            created_at=operation.created_at,
            finished_at=operation.finished_at,
            revision=operation.revision,
            reason=operation.reason,
            supersedes=edit.supersedes,
            superseded_by=edit.superseded_by,
            erased_at=None if erasure is None else erasure.done_at,
            erasure=erasure,
            withdrawn=[
                WithdrawnRevisions(first=found.first, last=found.last, why=found.why)
                for found in edit.withdrawals
            ],
            report=None if edit.report is None else EditReport.model_validate(edit.report),
            warnings=_warnings(edit),
            look_alikes=None if look_alikes is None else _alike(look_alikes),
        )


def _words(edit: Edit) -> EditWords:
    if edit.text is None:
        return EditWords()
    text = EditText.from_json(edit.text.content)
    return EditWords(
        subject=text.subject,
        prompt=text.prompt,
        target=text.target,
        separator=text.separator,
        as_edited=_as_edited(text),
        target_old=text.target_old,
        paraphrases=list(text.paraphrases),
        neighbours=[
            NeighbourResource(prompt=near.prompt, answer=near.answer, separator=near.separator)
            for near in text.neighbours
        ],
        metadata=text.metadata,
    )


def _as_edited(text: EditText) -> WordsAsEdited:
    edit = text.edit("")
    return WordsAsEdited(
        subject=edit.subject,
        prompt=edit.template,
        separator=edit.statement.between,
        target=edit.target,
    )


def _warnings(edit: Edit) -> list[str]:
    """Of its words as they were taken, its measurements, and its subject's letters."""
    told: list[EditWarning] = []
    if edit.report is not None:
        told += EditReport.model_validate(edit.report).warnings
    if edit.text is None:
        return [warning.message for warning in told]
    text = EditText.from_json(edit.text.content)
    told = [*word_warnings(text), *told]
    return [*dict.fromkeys(warning.message for warning in told), *_mixed(text.subject)]


def _mixed(subject: str) -> list[str]:
    mixed = mixed_word(subject)
    if mixed is None:
        return []
    word, scripts = mixed
    return [f"the word {word!r} of the subject mixes {' and '.join(scripts)} letters"]


def _alike(found: Mapping[str, EditText]) -> list[LookAlike]:
    """One line a subject: the newest edit of each, for they come newest first."""
    newest = {text.subject: id for id, text in reversed(list(found.items()))}
    return [LookAlike(subject=subject, edit=id) for subject, id in newest.items()]


class EditPage(BaseModel):
    """Some edits, in the order they were accepted."""

    model_config = ConfigDict(extra="forbid")

    items: list[EditResource]
    next: Annotated[int | None, Field(description="Pass it as `after`; null at the end.")]
