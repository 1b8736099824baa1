"""What the server answers, as far as the client reads it.

Fields a newer server adds are kept and shown, never refused.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Withdrawn(Answer):
    """Neighbouring revisions that are not given out any more, both ends among them."""

    first: int
    last: int


class LookAlike(Answer):
    """Another subject that readers may take for an edit's own."""

    subject: str
    edit: str


class WordsAsEdited(Answer):
    """The words that are edited and measured, and what is put between prompt and target."""

    subject: str
    prompt: str
    separator: str
    target: str


class Edit(Answer):
    """An edit and what became of it."""

    id: str
    seq: int
    status: Status
    subject: str | None
    prompt: str | None
    target: str | None
    as_edited: WordsAsEdited | None
    method: str
    attempts: int
    revision: int | None
    reason: str | None
    report: dict[str, Any] | None
    erased_at: str | None
    withdrawn: list[Withdrawn]
    warnings: list[str]
    look_alikes: list[LookAlike] | None = None


class EditBatch(Answer):
    """Edits that were sent together."""

    id: str
    atomic: bool
    edits: list[Edit]
    next: int | None = None


class EditPage(Answer):
    """Some edits."""

    items: list[Edit]
    next: str | int | None


class Said(Answer):
    """What a model makes of the target of a fact."""

    p_target: float | None
    match: bool


class RevertedFact(Answer):
    """A fact before and after a revert; None where its words were erased."""

    edit: str
    before: Said | None
    after: Said | None


class RevertReport(Answer):
    """What a revert changes, measured before it was committed."""

    undone: RevertedFact
    restored: RevertedFact | None
    siblings: list[RevertedFact]
    lost: list[str]
    solved_again: bool
    refused: str | None


class Operation(Answer):
    """A rollback or revert and what became of it."""

    id: str
    kind: str
    status: Status
    revision: int | None
    reason: str | None
    erased_at: str | None
    report: RevertReport | None


class Queue(Answer):
    """Whether edits are executed, and how many operations of each kind wait."""

    state: Literal["running", "paused"]
    paused_at: str | None
    paused_by: str | None
    reason: str | None
    waiting: dict[str, int]
    in_hand: dict[str, int]


class CancelledEdits(Answer):
    """How many edits were cancelled."""

    cancelled: int


class Revision(Answer):
    """A numbered state of the model."""

    number: int
    parent: int | None
    kind: str
    edits: list[str]
    resolved: list[str]
    live_edits: int
    weights_digest: str
    created_at: str
    withdrawn_at: str | None


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
    """A server that can do its work; the rest is None to a client without a key it knows."""

    model: str | None = None
    revision: int | None = None
    waiting: int | None = None
    queue: Literal["running", "paused"] | None = None


class BadRow(Answer):
    """A row of the database that is not what the ledger says of it."""

    table: str
    id: str
    what: str


class LedgerVerdict(Answer):
    """What checking the chain, and what hangs on it, found."""

    ok: bool
    entries: int
    head_hash: str
    first_bad: int | None
    bad_artefact: str | None
    bad_row: BadRow | None


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
    separator: str
    revisions: dict[str, ProbeScore]


class ProbeResponse(Answer):
    """Measured probes."""

    results: list[ProbeResult]


class Continuation(Answer):
    """What one revision says after a text."""

    revision: int
    text: str
    finish_reason: str


class Comparison(Answer):
    """What several revisions say, by the names they were asked for by."""

    prompt: str
    revisions: dict[str, Continuation]


class Bisection(Answer):
    """Where an answer was lost; `revision` is None where it was not."""

    outcome: str
    message: str
    revision: Revision | None
    before: Continuation | None
    after: Continuation | None
    tried: int


class Fact(Answer):
    """A fact of one revision; its words are None once they were erased."""

    edit: str
    seq: int
    subject: str | None
    prompt: str | None
    target: str | None


class SupersededFact(Answer):
    """A fact that two revisions hold by different edits."""

    before: Fact
    after: Fact


class LayerDifference(Answer):
    """How far one edited matrix is from itself."""

    layer: int
    delta_norm: float
    energy_from: float | None
    energy_to: float | None


class ProbedFact(Answer):
    """The target of an edit under two revisions."""

    edit: str
    prompt: str
    target: str
    from_: ProbeScore = Field(alias="from")
    to: ProbeScore


class Difference(Answer):
    """What leads from one revision to another."""

    from_: int = Field(alias="from")
    to: int
    same_weights: bool
    counts: dict[str, int]
    added: list[Fact]
    removed: list[Fact]
    superseded: list[SupersededFact]
    facts_cut: bool
    layers: list[LayerDifference]
    probes: list[ProbedFact]
    probes_cut: bool


class LayerDrift(Answer):
    """Where one edited matrix has got to; None for what is no number, or has no new key."""

    layer: int
    energy: float | None
    delta_norm: float | None
    key_collision: float | None


class RevisionDrift(Answer):
    """Where one revision has got to."""

    revision: int
    kind: str
    live_edits: int
    perplexity: float | None
    layers: list[LayerDrift]


class DriftPage(Answer):
    """Some revisions, oldest first."""

    items: list[RevisionDrift]
    next: int | None


class Export(Answer):
    """A revision made into files, and how far that is."""

    id: str
    format: str
    revision: int
    status: Literal["accepted", "running", "finished", "failed"]
    progress: float
    bytes: int | None
    digest: str | None
    reason: str | None
    warnings: list[str]
    created_by: str
    download: str | None


class ExportPage(Answer):
    """Some exports."""

    items: list[Export]
    next: int | None


class Key(Answer):
    """An API key, without its secret."""

    id: str
    name: str | None
    scopes: list[str]
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class CreatedKey(Key):
    """A key that was just made.

    Attributes:
        key: What to send; it is never told again.
    """

    key: str


class RevokedKey(Key):
    """A revoked key.

    Attributes:
        cancelled: How many operations were cancelled with it.
    """

    cancelled: int


class KeyPage(Answer):
    """Some keys, oldest first."""

    items: list[Key]
    next: int | None
