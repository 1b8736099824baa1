"""Where factors are: an edit may be given further ones, so each set has a name of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Where one set of an edit's factors is.

    Attributes:
        edit_id: The edit.
        artefact: Digest of the artefact with its factors.
        row: Which of that artefact's factor pairs are its own.
    """

    edit_id: str
    artefact: str
    row: int
