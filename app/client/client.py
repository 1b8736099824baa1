"""`Errata`: ask a server to edit, answer, audit and roll back."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx2

from app.client.answers import (
    Bisection,
    ChatCompletion,
    Comparison,
    Completion,
    Difference,
    DriftPage,
    Edit,
    EditBatch,
    EditPage,
    LedgerEntry,
    LedgerPage,
    LedgerVerdict,
    ModelList,
    Operation,
    ProbeResponse,
    Readiness,
    Revision,
    RevisionDrift,
    RevisionPage,
    Snapshot,
    SnapshotPage,
)
from app.client.connection import PAGE, Connection, Words
from app.client.events import Event, follow
from app.client.exports import Exports
from app.client.keys import Keys
from app.client.queue import QueueControl


class Errata(Connection):
    """A connection to one server; close it, or use it as a context manager.

    Every method raises `ServerAway` when nothing answers and `Refused` when the server answers
    with a problem. A method that changes something takes an `idempotency_key`: called again with
    the same one, as after a lost answer, it has the effect of one call.

    Args:
        base_url: Where the server is.
        api_key: Sent as a bearer token, if given.
        http: A ready HTTP client to use instead of a new one.
    """

    @property
    def exports(self) -> Exports:
        """Revisions as files."""
        return Exports(self)

    @property
    def keys(self) -> Keys:
        """Who may ask for what."""
        return Keys(self)

    @property
    def queue(self) -> QueueControl:
        """The queue of edits."""
        return QueueControl(self)

    def submit(
        self,
        subject: str,
        prompt: str,
        target: str,
        *,
        target_old: str | None = None,
        paraphrases: Sequence[str] = (),
        neighbours: Sequence[str] = (),
        method: str | None = None,
        force: bool = False,
        gates: Mapping[str, float] | None = None,
        separator: Literal["", " "] | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Edit:
        """Hand in an edit; it is computed after those handed in before.

        `gates` are stricter limits than the server's; `separator` stands before the target, by
        default what running text has there; a dry run is computed and reported only.
        """
        body = {
            "subject": subject,
            "prompt": prompt,
            "target": target,
            "target_old": target_old,
            "paraphrases": list(paraphrases),
            "neighbours": [{"prompt": neighbour} for neighbour in neighbours],
            "method": method,
            "force": force,
            "gates": None if gates is None else dict(gates),
        }
        # What was not asked for is not sent: the server's defaults are its own.
        sent = {name: value for name, value in body.items() if value not in (None, [], False)}
        sent |= {} if separator is None else {"separator": separator}
        return self._post(_path("/v1/edits", dry_run), sent, Edit, idempotency_key)

    def submit_batch(
        self,
        edits: Sequence[Mapping[str, Any]],
        *,
        atomic: bool = False,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> EditBatch:
        """Hand in edits together, each as the API takes it; all or none are committed if atomic."""
        body = {"edits": [dict(edit) for edit in edits], "atomic": atomic}
        path = _path("/v1/edit-batches", dry_run)
        return self._whole(self._post(path, body, EditBatch, idempotency_key))

    def batch(self, batch_id: str) -> EditBatch:
        """A batch with its edits as they stand now."""
        return self._whole(self._get(f"/v1/edit-batches/{batch_id}", EditBatch))

    def requeue(self, edit_id: str, *, idempotency_key: str | None = None) -> Edit:
        """Queue a dead edit again, behind everything that waits."""
        return self._post(f"/v1/edits/{edit_id}/requeue", None, Edit, idempotency_key)

    def cancel(self, edit_id: str, *, idempotency_key: str | None = None) -> Edit:
        """Cancel an accepted edit; cancelling one of an atomic batch cancels the whole batch."""
        return self._withdraw(f"/v1/edits/{edit_id}", Edit, idempotency_key)

    def erase(
        self, edit_id: str, *, withdraw: bool = False, idempotency_key: str | None = None
    ) -> Edit:
        """Remove the words of an edit that has ended, for ever.

        `erased_at` is None while a reader keeps them in the database's files; see `wait_erased`.

        Args:
            edit_id: The edit.
            withdraw: Whether to withdraw every revision that holds it, too.
            idempotency_key: Names the request, so that it may be sent again.
        """
        body = {"withdraw": True} if withdraw else None
        return self._post(f"/v1/edits/{edit_id}/erase", body, Edit, idempotency_key)

    def erase_reason(self, operation_id: str, *, idempotency_key: str | None = None) -> Operation:
        """Remove the reason that was given for a revert or a rollback, for ever."""
        path = f"/v1/operations/{operation_id}/erase"
        return self._post(path, None, Operation, idempotency_key)

    def wait_erased(self, found: Words, timeout_s: float = 600.0) -> Words:
        """The edit or operation once nothing of its words is left in the database.

        Raises:
            StillWaiting: Some of it is after this time.
        """
        if isinstance(found, Edit):
            return self._erased(f"/v1/edits/{found.id}", Edit, timeout_s)
        return self._erased(f"/v1/operations/{found.id}", Operation, timeout_s)

    def withdraw(self, edit_id: str, why: str, *, idempotency_key: str | None = None) -> Edit:
        """Serve and hand out no more any revision that holds an edit which head does not hold.

        Args:
            edit_id: The edit.
            why: `erasure`, `legal` or `harm`; the ledger keeps it.
            idempotency_key: Names the request, so that it may be sent again.
        """
        path = f"/v1/edits/{edit_id}/withdraw"
        return self._post(path, {"why": why}, Edit, idempotency_key)

    def edit(self, edit_id: str) -> Edit:
        """One edit as it stands now."""
        return self._get(f"/v1/edits/{edit_id}", Edit)

    def edits(self, *, status: str | None = None, subject: str | None = None) -> Iterator[Edit]:
        """All edits, oldest first, read page by page."""
        query = {"status": status, "subject": subject}
        for page in self._pages("/v1/edits", EditPage, **query):
            yield from page.items

    def wait(self, edit_id: str, timeout_s: float = 600.0) -> Edit:
        """The edit once it has ended, however it ended.

        Raises:
            StillWaiting: It has not ended in time.
        """
        return self._ended(f"/v1/edits/{edit_id}", Edit, timeout_s)

    def edit_events(self, edit_id: str) -> Iterator[Event]:
        """Each status of one edit as it comes, from the first until it has ended."""
        return follow(self._http, f"/v1/edits/{edit_id}/events", None, self._problem)

    def events(self, after: int | None = None) -> Iterator[Event]:
        """Each new status of any edit, from now on or after an event's number; never ends."""
        return follow(self._http, "/v1/events", after, self._problem)

    def revision(self, number: int | str = "head") -> Revision:
        """One revision by number, or `head`."""
        return self._get(f"/v1/revisions/{number}", Revision)

    def revisions(self) -> Iterator[Revision]:
        """All revisions, oldest first, read page by page."""
        for page in self._pages("/v1/revisions", RevisionPage):
            yield from page.items

    def snapshot(
        self, label: str, revision: int | None = None, *, idempotency_key: str | None = None
    ) -> Snapshot:
        """Keep a revision, or the head, whole under a label that a rollback may name."""
        body = {"label": label, "revision": revision}
        return self._post("/v1/snapshots", body, Snapshot, idempotency_key)

    def snapshots(self) -> Iterator[Snapshot]:
        """All snapshots in the order they were taken, read page by page."""
        for page in self._pages("/v1/snapshots", SnapshotPage):
            yield from page.items

    def remove_label(self, label: str, *, idempotency_key: str | None = None) -> None:
        """Remove a label; its revision stays."""
        self._delete(f"/v1/snapshots/{label}", idempotency_key)

    def rollback(
        self,
        to: int | str,
        reason: str | None = None,
        *,
        if_head: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Ask for a new revision that equals an old one, named by its number or a label.

        With `if_head` nothing is undone on top of another head than this revision.
        """
        goal = {"to_revision": to} if isinstance(to, int) else {"to_label": to}
        body = goal | _undoing(reason, if_head)
        return self._post("/v1/rollbacks", body, Operation, idempotency_key)

    def revert(
        self,
        edit_id: str,
        reason: str | None = None,
        *,
        force: bool = False,
        restore: bool = True,
        dry_run: bool = False,
        if_head: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation:
        """Ask for a new revision without one edit, wherever in history it was made.

        Args:
            edit_id: The edit.
            reason: Why; kept with the operation.
            force: Undo it even where other facts of its subject would be lost.
            restore: Let the edit that it superseded be live again.
            dry_run: Measure and report only; the operation ends as `tried`, with its report.
            if_head: Undo nothing on top of another head than this revision.
            idempotency_key: Names the request, so that it may be sent again.
        """
        # What was not asked for is not sent: the server's defaults are its own.
        body = _undoing(reason, if_head)
        body |= {"force": True} if force else {}
        body |= {} if restore else {"restore": False}
        path = _path(f"/v1/edits/{edit_id}/revert", dry_run)
        return self._post(path, body, Operation, idempotency_key)

    def wait_operation(self, operation_id: str, timeout_s: float = 600.0) -> Operation:
        """The rollback or revert once it has ended, however it ended.

        Raises:
            StillWaiting: It has not ended in time.
        """
        return self._ended(f"/v1/operations/{operation_id}", Operation, timeout_s)

    def ledger(self) -> Iterator[LedgerEntry]:
        """All entries of the ledger, oldest first, read page by page."""
        for page in self._pages("/v1/ledger", LedgerPage):
            yield from page.items

    def verify(self) -> LedgerVerdict:
        """Let the server check its hash chain."""
        return self._get("/v1/ledger/verify", LedgerVerdict)

    def bundle(self, path: Path) -> int:
        """Store all evidence of the ledger in a file, which appears once it is whole.

        Returns:
            How many bytes it has.

        Raises:
            OSError: The file cannot be written.
        """
        self._fetch("/v1/ledger/bundle", path)
        return path.stat().st_size

    def models(self) -> ModelList:
        """What can be asked."""
        return self._get("/v1/models", ModelList)

    def complete(
        self,
        prompt: str,
        *,
        revision: int | None = None,
        max_tokens: int = 32,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Completion:
        """Let the model continue a text; greedily, unless a temperature is given."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": temperature}
        return self._post("/v1/completions", body | self._pinned(revision, seed), Completion)

    def chat(
        self,
        message: str,
        *,
        revision: int | None = None,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> ChatCompletion:
        """Say something to the assistant; greedily answered, unless a temperature is given."""
        body = {
            "messages": [{"role": "user", "content": message}],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        pinned = self._pinned(revision, seed)
        return self._post("/v1/chat/completions", body | pinned, ChatCompletion)

    def probe(
        self,
        items: Sequence[tuple[str, str] | tuple[str, str, Literal["", " "]]],
        revisions: Sequence[int | str] = ("head",),
    ) -> ProbeResponse:
        """How probable each (prompt, target) is under each revision.

        A third member is what stands between them; by default, what running text has there.
        """
        names = ("prompt", "target", "separator")
        probes = [dict(zip(names, item, strict=False)) for item in items]
        body = {"items": probes, "revisions": list(revisions)}
        return self._post("/v1/probe", body, ProbeResponse)

    def compare(
        self, prompt: str, revisions: Sequence[int | str] = (0, "head"), *, max_tokens: int = 32
    ) -> Comparison:
        """How each revision continues a text, greedily."""
        body = {"prompt": prompt, "revisions": list(revisions), "max_tokens": max_tokens}
        return self._post("/v1/compare", body, Comparison)

    def bisect(
        self, prompt: str, expect: str, *, first: int | str = 0, last: int | str = "head"
    ) -> Bisection:
        """Where the completion of a prompt ceased to begin with what is expected."""
        body = {"prompt": prompt, "expect": expect, "from": first, "to": last}
        return self._post("/v1/bisect", body, Bisection)

    def diff(self, first: int | str = 0, last: int | str = "head") -> Difference:
        """What leads from one revision to another."""
        return self._get("/v1/diff", Difference, {"from": first, "to": last})

    def drift(
        self, first: int | str = 0, last: int | str = "head", *, page: int = PAGE
    ) -> Iterator[RevisionDrift]:
        """How far each revision moved the model, oldest first, read `page` at a time."""
        start: int | str | None = first
        while start is not None:
            query = {"from": start, "to": last, "limit": page}
            found = self._get("/v1/drift", DriftPage, query)
            yield from found.items
            start = found.next

    def readiness(self) -> Readiness:
        """What the server serves, and how many operations are waiting."""
        return self._get("/readyz", Readiness)

    def is_ready(self) -> bool:
        """Whether the server answers and its model is loaded and verified."""
        try:
            return self._http.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def _whole(self, batch: EditBatch) -> EditBatch:
        """A batch with the edits that its answer had no room for."""
        edits, after = list(batch.edits), batch.next
        while after is not None:
            more = self._get(f"/v1/edit-batches/{batch.id}", EditBatch, {"after": after})
            edits, after = edits + more.edits, more.next
        return batch.model_copy(update={"edits": edits, "next": None})

    def _pinned(self, revision: int | None, seed: int | None) -> dict[str, Any]:
        pinned: dict[str, Any] = {} if seed is None else {"seed": seed}
        if revision is not None:
            pinned["model"] = f"{self.models().data[0].id}@{revision}"
        return pinned


def _path(path: str, dry_run: bool) -> str:
    return f"{path}?dry_run=true" if dry_run else path


def _undoing(reason: str | None, if_head: int | None) -> dict[str, Any]:
    body = {"reason": reason or None, "if_head": if_head}
    return {name: value for name, value in body.items() if value is not None}
