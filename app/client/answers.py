"""What the server answers, as far as the client reads it.

Fields a newer server adds are kept and shown, never refused.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal[
    "accepted",
    "running",
    "committed",
    "rejected",
    "dead",
    "cancelled",
    "tried",
    "reverted",
    "superseded",
]
UNFINISHED = ("accepted", "running")


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Edit(Answer):
    """An edit and what became of it."""

    id: str
    seq: int
    status: Status
    subject: str | None
    prompt: str | None
    target: str | None
    method: str
    attempts: int
    revision: int | None
    reason: str | None
    report: dict[str, Any] | None


class EditBatch(Answer):
    """Edits that were sent together."""

    id: str
    atomic: bool
    edits: list[Edit]


class EditPage(Answer):
    """Some edits."""

    items: list[Edit]
    next: str | int | None


class Operation(Answer):
    """A rollback or revert and what became of it."""

    id: str
    kind: str
    status: Status
    revision: int | None
    reason: str | None


class Revision(Answer):
    """A numbered state of the model."""

    number: int
    parent: int | None
    kind: str
    edits: list[str]
    live_edits: int
    weights_digest: str
    created_at: str


class RevisionPage(Answer):
    """Some revisions."""

    items: list[Revision]
    next: str | int | None


class Snapshot(Answer):
    """A revision that is kept whole."""

    revision: int
    label: str | None
    automatic: bool
    digest: str | None
    created_at: str


class SnapshotPage(Answer):
    """Some snapshots."""

    items: list[Snapshot]
    next: str | int | None


class LedgerEntry(Answer):
    """One link of the chain."""

    index: int
    kind: str
    payload: dict[str, Any]
    actor: str
    at: str
    prev_hash: str
    hash: str


class LedgerPage(Answer):
    """Some entries, oldest first."""

    items: list[LedgerEntry]
    next: str | int | None


class Readiness(Answer):
    """A server that can do its work."""

    model: str
    revision: int
    waiting: int


class LedgerVerdict(Answer):
    """What checking the chain found."""

    ok: bool
    entries: int
    head_hash: str
    first_bad: int | None
    bad_artefact: str | None = None


class Choice(Answer):
    """One continuation."""

    index: int
    text: str
    finish_reason: str


class Completion(Answer):
    """Continuations and the revision that made them."""

    model: str
    revision: int
    choices: list[Choice]


class ChatMessage(Answer):
    """What the assistant says."""

    role: str
    content: str


class ChatChoice(Answer):
    """One answer."""

    index: int
    message: ChatMessage
    finish_reason: str


class ChatCompletion(Answer):
    """Answers and the revision that made them."""

    model: str
    revision: int
    choices: list[ChatChoice]


class Model(Answer):
    """A model that can be asked."""

    id: str
    revision: int


class ModelList(Answer):
    """All models that can be asked."""

    data: list[Model]


class ProbeScore(Answer):
    """How a target fares under one revision."""

    logprob: float
    p: float
    rank: int
    argmax: str
    match: bool


class ProbeResult(Answer):
    """One probe under every revision asked for."""

    prompt: str
    target: str
    revisions: dict[str, ProbeScore]


class ProbeResponse(Answer):
    """Measured probes."""

    results: list[ProbeResult]
