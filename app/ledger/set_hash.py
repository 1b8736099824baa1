"""A name for a set of ids that follows it as it grows and shrinks, at the same cost however large.

LtHash16 of Lewi, Kim, Maykov and Weis (2019, eprint.iacr.org/2019/227), with SHAKE-128: each id
is a vector of 1024 numbers of 16 bits, and a set is their sum, number by number. Two sets with one
sum would solve a lattice problem (at least 200 bits of security); exclusive or in place of the sum
is linear, and some 260 ids of one's choice are enough to cancel.
"""

import hashlib

import numpy as np

_NUMBERS = 1024
_BYTES = 2 * _NUMBERS


class SetHash:
    """The name of a set. An id is in it once: who adds it twice gets the name of something else."""

    def __init__(self) -> None:
        self._sum = np.zeros(_NUMBERS, dtype="<u2")

    def add(self, id: str) -> None:
        """One that was not in the set is."""
        self._sum += _vector(id)

    def remove(self, id: str) -> None:
        """One that was in the set is not."""
        self._sum -= _vector(id)

    def digest(self) -> bytes:
        """The name of the set as it is, 32 bytes."""
        return hashlib.sha256(self._sum.tobytes()).digest()


def _vector(id: str) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    return np.frombuffer(hashlib.shake_128(id.encode()).digest(_BYTES), dtype="<u2")
