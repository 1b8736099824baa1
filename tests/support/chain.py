"""The chain of a database, verified as it is seen from one transaction."""

from contextlib import closing

from sqlalchemy.orm import Session

from app.ledger import repository
from app.ledger.chain import Verdict, verify


def check_chain(session: Session) -> Verdict:
    """Verify the chain from its first entry, and that its end is not cut off.

    A chain that was cut after its last few entries still holds in itself; operations, revisions,
    labels and keys that refer beyond its end give it away.
    """
    with closing(repository.links(session)) as links:  # verify stops at the first bad entry
        verdict = verify(links)
    if verdict.ok and repository.newest_reference(session) >= verdict.entries:
        return Verdict(verdict.entries, verdict.head_hash, first_bad=verdict.entries)
    return verdict
