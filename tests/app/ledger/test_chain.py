import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kit.canonical import canonical
from app.ledger.chain import GENESIS, Link, link, verify

AT = "2026-01-01T00:00:00.000000Z"


def _chain(length: int) -> list[Link]:
    links: list[Link] = []
    for index in range(length):
        previous = links[-1].hash if links else GENESIS
        links.append(
            link(
                index=index,
                kind="operation",
                payload={"id": f"edit_{index}", "seq": index},
                actor="local",
                at=AT,
                prev_hash=previous,
            )
        )
    return links


def test_a_link_is_hashed_as_the_canonical_json_of_everything_else_in_it() -> None:
    (only,) = _chain(1)
    record = {
        "actor": "local",
        "at": AT,
        "index": 0,
        "kind": "operation",
        "payload": {"id": "edit_0", "seq": 0},
        "prev_hash": "0" * 64,
    }
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    assert only.hash == hashlib.sha256(text.encode()).hexdigest()


def test_an_empty_chain_holds() -> None:
    verdict = verify([])
    assert (verdict.ok, verdict.entries, verdict.head_hash) == (True, 0, GENESIS)


def test_a_whole_chain_holds_and_ends_with_its_last_hash() -> None:
    links = _chain(5)
    verdict = verify(links)
    assert (verdict.ok, verdict.entries, verdict.head_hash) == (True, 5, links[-1].hash)


@given(st.integers(0, 5), st.integers(0, 5))
def test_two_swapped_links_are_found_at_the_first(first: int, second: int) -> None:
    links = _chain(6)
    links[first], links[second] = links[second], links[first]
    assert verify(links).first_bad == (None if first == second else min(first, second))


def test_a_link_forged_with_a_right_hash_breaks_the_next() -> None:
    links = _chain(4)
    links[1] = link(
        index=1,
        kind="operation",
        payload={"id": "forged"},
        actor="local",
        at=AT,
        prev_hash=links[0].hash,
    )
    assert verify(links).first_bad == 2


@pytest.mark.parametrize("payload", [{"p": 0.5}, {"deep": [{"p": 1.0}]}, float("nan")])
def test_a_float_is_refused(payload: object) -> None:
    with pytest.raises(TypeError, match="write it as a string"):
        canonical(payload)
