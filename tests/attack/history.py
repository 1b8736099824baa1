"""What a server looks back on before it is attacked: many entries, many revisions."""

import secrets
from pathlib import Path

from sqlalchemy import insert

from app.client import Errata
from app.clock import rfc3339, utc_now
from app.database.database import Database
from app.keys import service as keys
from app.keys.scopes import Scope
from app.ledger import repository as ledger
from app.ledger.chain import link
from app.ledger.models import EntryKind, LedgerEntry
from app.settings import Settings

_WAIT_S = 120.0


def lengthen_ledger(data_dir: Path, entries: int) -> None:
    """Have one key revoked over and over again; no server may run."""
    settings = Settings(data_dir=data_dir, _env_file=None)
    database = Database(settings.database_url)
    now = utc_now()
    with database.write() as session:
        key, _ = keys.create(session, settings, keys.NewKey([Scope.QUERY]), actor="cli", now=now)
        keys.revoke(session, key.id, actor="cli", now=now)
        last = ledger.last(session)
        assert last is not None
        index, prev_hash, rows = last.index, last.hash, []
        for number in range(1, entries + 1):
            entry = link(
                index=index + number,
                kind=EntryKind.KEY,
                payload={"id": key.id, "revoked": True},
                actor="cli",
                at=rfc3339(now),
                prev_hash=prev_hash,
            )
            prev_hash = entry.hash
            rows.append(vars(entry))
        session.execute(insert(LedgerEntry), rows)
        key.revocation_index = index + entries
    database.close()


def add_revisions(errata: Errata, count: int) -> None:
    """Make revisions by going back and forth between the base and one edit."""
    edit = errata.submit("Place", "The capital of {} is", "Rome", force=True)
    assert errata.wait(edit.id, _WAIT_S).status == "committed"
    *_, last = [errata.rollback(number % 2, secrets.token_hex(4)) for number in range(count)]
    assert errata.wait_operation(last.id, _WAIT_S).status == "committed"
