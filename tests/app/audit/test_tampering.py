"""Whatever one byte, row or file of the evidence is changed: an audit finds it and names it."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import text

from app.audit.auditing import audit
from app.database.database import Database
from app.ledger import service
from app.ledger.artefacts import ArtefactStore
from app.ledger.prefix import VerifiedPrefix
from app.ledger.records import artefact_of
from app.ledger.schemas import LedgerVerdict
from tests.support.engines import only_sqlite
from tests.support.history import History
from tests.support.tampering import tampering

_TEXTS = ("kind", "payload", "actor", "at", "prev_hash", "hash")
_BITS = 31  # of an index

pytestmark = only_sqlite
thorough = examples(max_examples=250, deadline=None, derandomize=True)


class Audit:
    """A recorded ledger with its artefacts, how to tamper with them, and what an audit finds."""

    def __init__(self, database: Database, artefacts: ArtefactStore) -> None:
        self.database, self.artefacts = database, artefacts
        self._prefix = VerifiedPrefix()
        self.entries = self().entries

    def __call__(self) -> LedgerVerdict:
        """Verify everything, as a server does that has verified it before."""
        found = audit(self.database, self.artefacts, prefix=self._prefix)
        assert found == audit(self.database, self.artefacts)
        return found

    def stored(self, index: int, column: str) -> bytes:
        """One text as the disk has it."""
        query = f'SELECT CAST({column} AS BLOB) FROM ledger_entries WHERE "index" = :at'  # noqa: S608
        with self.database.read() as session:
            found: bytes = session.execute(text(query), {"at": index}).scalar_one()
        return found

    def store(self, index: int, column: str, value: bytes) -> None:
        """Overwrite one text."""
        update = f'UPDATE ledger_entries SET {column} = CAST(:value AS TEXT) WHERE "index" = :at'  # noqa: S608
        with tampering(self.database) as execute:
            execute(update, value=value, at=index)

    def renumber(self, *pairs: tuple[int, int]) -> None:
        """Move entries, one after another."""
        update = 'UPDATE ledger_entries SET "index" = :new WHERE "index" = :old'
        with tampering(self.database) as execute:
            for old, new in pairs:
                execute(update, old=old, new=new)

    def references(self) -> dict[str, int]:
        """Digest of each artefact, and the entry that refers to it."""
        return {
            digest: entry.index
            for entry in service.entries(self.database)
            if (digest := artefact_of(entry)) is not None
        }


@pytest.fixture
def audited(database: Database, artefacts: ArtefactStore) -> Audit:
    """Base, two edits and their revisions, a rollback and its revision, an erasure."""
    history = History(database, artefacts)
    history.edit("a")
    history.edit("b", supersedes="a")
    history.undo("back", 1, restored=["a"], removed=["b"])
    history.erase("b")
    return Audit(database, artefacts)


def _flipped(value: bytes, place: int, bit: int) -> bytes:
    return value[:place] + bytes([value[place] ^ 1 << bit]) + value[place + 1 :]


def test_what_nobody_touched_holds(audited: Audit) -> None:
    verdict = audited()
    assert (verdict.ok, verdict.entries, verdict.first_bad, verdict.bad_artefact) == (
        True, 8, None, None,
    )  # fmt: skip
    assert sorted(audited.references().values()) == [2, 4]


def test_any_flipped_bit_of_any_text_of_any_entry_is_named(audited: Audit) -> None:
    @thorough
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        index = data.draw(st.integers(0, audited.entries - 1))
        column = data.draw(st.sampled_from(_TEXTS))
        before = audited.stored(index, column)
        place = data.draw(st.integers(0, len(before) - 1))
        audited.store(index, column, _flipped(before, place, data.draw(st.integers(0, 7))))
        assert audited().first_bad == index
        audited.store(index, column, before)

    flip()
    assert audited().ok


def test_any_flipped_bit_of_an_index_is_named(audited: Audit) -> None:
    for index in range(audited.entries):
        for bit in range(_BITS):
            moved = index ^ 1 << bit
            if moved >= audited.entries:
                audited.renumber((index, moved))
                assert audited().first_bad == index
                audited.renumber((moved, index))
    assert audited().ok


def test_any_removed_entry_is_named_and_so_is_any_cut(audited: Audit) -> None:
    away = 1_000_000
    for index in range(audited.entries):
        with tampering(audited.database) as execute:
            execute(_COPY, at=index)
            execute(_REMOVE, at=index)
        assert audited().first_bad == index
        with tampering(audited.database) as execute:
            execute(_BRING_BACK)
            execute("DROP TABLE copied")
        audited.renumber(*((later, later - away) for later in range(index, audited.entries)))
        assert audited().first_bad == index  # nothing after it any more: below zero is nowhere
        audited.renumber(*((later - away, later) for later in range(index, audited.entries)))
    assert audited().ok


_COPY = 'CREATE TABLE copied AS SELECT * FROM ledger_entries WHERE "index" = :at'
_REMOVE = 'DELETE FROM ledger_entries WHERE "index" = :at'
_BRING_BACK = "INSERT INTO ledger_entries SELECT * FROM copied"


def test_any_two_swapped_entries_are_named_at_the_first(audited: Audit) -> None:
    away = 1_000_000
    for first in range(audited.entries):
        for second in range(first + 1, audited.entries):
            swap = ((first, away), (second, first), (away, second))
            audited.renumber(*swap)
            assert audited().first_bad == first
            audited.renumber(*swap)
    assert audited().ok


def test_any_flipped_bit_of_any_artefact_is_named(audited: Audit) -> None:
    references = audited.references()

    @thorough
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(references)))
        before = audited.artefacts.path(digest).read_bytes()
        place = data.draw(st.integers(0, len(before) - 1))
        audited.artefacts.path(digest).write_bytes(
            _flipped(before, place, data.draw(st.integers(0, 7)))
        )
        verdict = audited()
        assert (verdict.ok, verdict.first_bad) == (False, references[digest])
        assert verdict.bad_artefact == digest
        audited.artefacts.path(digest).write_bytes(before)

    flip()
    assert audited().ok


def test_a_missing_artefact_is_named_and_so_are_swapped_ones(audited: Audit) -> None:
    (first, index), (second, _) = sorted(audited.references().items(), key=lambda item: item[1])
    contents = [audited.artefacts.path(digest).read_bytes() for digest in (first, second)]
    audited.artefacts.path(first).unlink()
    assert (audited().first_bad, audited().bad_artefact) == (index, first)
    for digest, content in zip((first, second), reversed(contents), strict=True):
        audited.artefacts.path(digest).write_bytes(content)
    assert (audited().first_bad, audited().bad_artefact) == (index, first)
