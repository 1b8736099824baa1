"""What a server looks back on before it is attacked: many entries, many revisions."""

import secrets
from pathlib import Path

from sqlalchemy import insert

from app.client import Errata
from app.database.database import Database
from app.database.tables.ledger import EntryKind, LedgerEntry
from app.kit.clock import rfc3339, utc_now
from app.ledger import repository as ledger
from app.ledger.chain import link
from app.settings import Settings

_WAIT_S = 120.0


def lengthen_ledger(data_dir: Path, entries: int) -> None:
    """Have one label come and go over and over again; no server may run."""
    settings = Settings(data_dir=data_dir, _env_file=None)
    database = Database(settings.database_url)
    now = utc_now()
    with database.write() as session:
        last = ledger.last(session)
        assert last is not None
        index, prev_hash, rows = last.index, last.hash, []
        for number in range(1, entries + 1):
            entry = link(
                index=index + number,
                kind=EntryKind.SNAPSHOT,
                payload={"label": "a", "revision": 0, "removed": number % 2 == 0},
                actor="cli",
                at=rfc3339(now),
                prev_hash=prev_hash,
            )
            prev_hash = entry.hash
            rows.append(vars(entry))
        session.execute(insert(LedgerEntry), rows)
    database.close()


def add_revisions(errata: Errata, count: int) -> None:
    """Make revisions by going back and forth between the base and one edit."""
    edit = errata.submit("Place", "The capital of {} is", "Rome", force=True)
    assert errata.wait(edit.id, _WAIT_S).status == "committed"
    *_, last = [errata.rollback(number % 2, secrets.token_hex(4)) for number in range(count)]
    assert errata.wait_operation(last.id, _WAIT_S).status == "committed"
