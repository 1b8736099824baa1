"""What the revisions of a database start from, and the recipe that they were last computed by."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import inspect, make_url, select
from sqlalchemy.orm import Session

from app.database.database import Database
from app.database.tables.ledger import EntryKind, LedgerEntry
from app.errors import BaseMismatch
from app.ledger import service as ledger
from app.operations import revisions as repository


@dataclass(frozen=True)
class Origin:
    """What revision 0 is, as the ledger has it.

    Attributes:
        model: Its name.
        model_digest: Of its parameters.
        layers: The layers that every revision edits.
        recipe: Digest of the recipe that the newest revision was computed by.
    """

    model: str
    model_digest: str
    layers: tuple[int, ...]
    recipe: str

    @classmethod
    def of(cls, session: Session) -> Self | None:
        """That of a database; None before its first start."""
        query = select(LedgerEntry.payload).where(LedgerEntry.kind == EntryKind.BASE)
        payload = session.scalar(query.order_by(LedgerEntry.index).limit(1))
        if payload is None:
            return None
        base = json.loads(payload)
        return cls(
            model=base["model"],
            model_digest=base["model_digest"],
            layers=tuple(base["layers"]),
            recipe=_changed_to(session) or base["recipe_digest"],
        )

    def require(self, model: str, model_digest: str) -> None:
        """Let a model go on that is the one that everything here starts from.

        Raises:
            BaseMismatch: It is another.
        """
        if model_digest != self.model_digest:
            raise BaseMismatch(
                f"this database belongs to model {self.model!r} with model_digest "
                f"{self.model_digest}, but {model!r} with {model_digest} was loaded; set "
                "ERRATA_MODEL and ERRATA_DTYPE back, or another ERRATA_DATA_DIR"
            )

    def edits(self, layers: Sequence[int]) -> bool:
        """Whether its revisions edit these layers."""
        return tuple(layers) == self.layers


def origin_at(database_url: str) -> Origin | None:
    """That of a database that need not be there, or may be empty.

    Raises:
        DatabaseUnavailable: It cannot be read.
    """
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None
    database = Database(database_url)
    try:
        with database.read() as session:
            known = inspect(session.connection()).has_table(LedgerEntry.__tablename__)
            return Origin.of(session) if known else None
    finally:
        database.close()


def note_recipe(session: Session, recipe: str, *, actor: str, now: datetime) -> None:
    """Tell the ledger by which recipe revisions are computed from here on, if it is another."""
    head = repository.newest(session)
    if head is not None and head.report["recipe_digest"] == recipe:
        return
    origin = Origin.of(session)
    if origin is not None and origin.recipe != recipe:
        ledger.append(
            session,
            EntryKind.RECIPE,
            {"digest": recipe, "former": origin.recipe},
            actor=actor,
            now=now,
        )


def _changed_to(session: Session) -> str | None:
    query = select(LedgerEntry.payload).where(LedgerEntry.kind == EntryKind.RECIPE)
    payload = session.scalar(query.order_by(LedgerEntry.index.desc()).limit(1))
    return None if payload is None else str(json.loads(payload)["digest"])
