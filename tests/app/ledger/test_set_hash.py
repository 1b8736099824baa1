"""The name of a set follows its content alone, and no sum of chosen ids can imitate it."""

import hashlib
from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.set_hash import SetHash

_ids = st.sets(st.text(min_size=1, max_size=8), max_size=12)


def _name(ids: list[str]) -> bytes:
    held = SetHash()
    for id in ids:
        held.add(id)
    return held.digest()


@given(_ids, _ids, st.randoms(use_true_random=False))
def test_the_name_is_that_of_the_content_whatever_led_to_it(
    kept: set[str], gone: set[str], random: object
) -> None:
    held, order = SetHash(), [*kept, *(gone - kept)]
    random.shuffle(order)  # type: ignore[attr-defined]
    for id in order:
        held.add(id)
    for id in gone - kept:
        held.remove(id)
    assert held.digest() == _name(sorted(kept))


@given(_ids, _ids)
def test_other_sets_have_other_names(one: set[str], other: set[str]) -> None:
    assert (_name(sorted(one)) == _name(sorted(other))) == (one == other)


def test_ids_that_cancel_under_exclusive_or_do_not_cancel_here() -> None:
    basis = dict[int, tuple[int, int]]()
    ids = [f"edit_{number}" for number in range(300)]
    chosen = list[str]()
    for number, id in enumerate(ids):
        value = int.from_bytes(hashlib.sha256(id.encode()).digest(), "big")
        who = 1 << number
        while value and value.bit_length() in basis:
            held, others = basis[value.bit_length()]
            value, who = value ^ held, who ^ others
        if not value:
            chosen = [ids[place] for place in range(300) if who >> place & 1]
            break
        basis[value.bit_length()] = (value, who)
    marks = (int.from_bytes(hashlib.sha256(id.encode()).digest(), "big") for id in chosen)
    assert reduce(lambda one, other: one ^ other, marks) == 0
    assert _name(chosen) != _name([])


def test_it_is_the_published_sum_of_1024_numbers_of_16_bits() -> None:
    expected = np.zeros(1024, dtype=np.int64)
    for id in ("a", "b", "c"):
        expected += np.frombuffer(hashlib.shake_128(id.encode()).digest(2048), dtype="<u2")
    as_bytes = (expected % 2**16).astype("<u2").tobytes()
    assert _name(["a", "b", "c"]) == hashlib.sha256(as_bytes).digest()
