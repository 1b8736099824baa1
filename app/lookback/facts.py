"""Which facts two revisions do not share: added, removed, or held by another edit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.lookback import repository
from app.operations.live import LiveEdit, difference


@dataclass(frozen=True)
class DifferingFacts:
    """What has to be done to the edits of one revision to have those of another.

    Each is in the order the edits were accepted, the newest first.

    Attributes:
        gone: Edits live in the first revision alone.
        new: Edits live in the second revision alone.
        added: Edits of `new` whose fact the first revision has no edit of.
        removed: Edits of `gone` whose fact the second revision has no edit of.
        superseded: The others, as pairs of one fact.
        resolved: Edits live in both revisions with other factors, as pairs.
    """

    gone: Sequence[LiveEdit]
    new: Sequence[LiveEdit]
    added: Sequence[LiveEdit]
    removed: Sequence[LiveEdit]
    superseded: Sequence[tuple[LiveEdit, LiveEdit]]
    resolved: Sequence[tuple[LiveEdit, LiveEdit]] = ()


def differing_facts(session: Session, first: int, last: int) -> DifferingFacts:
    """The facts that two revisions do not share.

    Raises:
        UnknownRevision: One of them does not exist.
    """
    differing = difference(session, first, last, words=True)
    gone, new = differing.removed[::-1], differing.added[::-1]
    ids = [edit.edit_id for edit in (*gone, *new)]
    origins, digests = repository.origins(session, ids), repository.fact_digests(session, ids)
    found = pair_up(gone, new, facts_of(origins, digests))
    return replace(found, resolved=differing.resolved[::-1])


def facts_of(origins: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    """Edit id → a name that all edits of its fact share.

    Args:
        origins: Edit id → the first of those that superseded each other; still there when the
            words were erased.
        digests: Edit id → what its words say the fact is; also joins edits of which one was
            undone before the other was made.
    """
    names = dict[str, str]()  # origin → digest
    for id, digest in digests.items():
        names[origins[id]] = digest
    return {id: names.get(origin, origin) for id, origin in origins.items()}


def pair_up(
    gone: Sequence[LiveEdit], new: Sequence[LiveEdit], fact_of: Mapping[str, str]
) -> DifferingFacts:
    """Pair edits of one fact; what finds no partner was added or removed."""
    partners = defaultdict[str, list[LiveEdit]](list)
    for edit in reversed(gone):
        partners[fact_of[edit.edit_id]].append(edit)
    added, superseded = list[LiveEdit](), list[tuple[LiveEdit, LiveEdit]]()
    for edit in new:
        waiting = partners[fact_of[edit.edit_id]]
        if waiting:
            superseded.append((waiting.pop(), edit))
        else:
            added.append(edit)
    paired = {before.edit_id for before, _ in superseded}
    removed = [edit for edit in gone if edit.edit_id not in paired]
    return DifferingFacts(gone, new, added, removed, superseded)
