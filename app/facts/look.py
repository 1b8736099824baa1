"""Which subjects look alike (UTS #39), and which mix scripts that look alike."""

import unicodedata
from collections.abc import Mapping
from importlib.resources import files

import regex

from app.kit.characters import without_ignorable

# Scripts with many letters that look like another's. Words of other scripts may well hold some of
# these, as Japanese ones do Latin letters.
_ALIKE = ("Latin", "Cyrillic", "Greek", "Coptic", "Armenian", "Georgian", "Cherokee", "Lisu")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}'’·-]+")
_LETTERS = tuple((script, regex.compile(rf"\p{{{script}}}")) for script in _ALIKE)


def _prototypes() -> Mapping[int, str]:
    """Code point → what it looks like."""
    table = (files("app.facts") / "confusables.txt").read_text(encoding="utf-8")
    lines = (line.split() for line in table.splitlines() if not line.startswith("#"))
    return {int(code, 16): "".join(chr(int(part, 16)) for part in looks) for code, *looks in lines}


_PROTOTYPES = _prototypes()


def look(text: str) -> str:
    """The same for all texts that look alike: the skeleton of UTS #39, and case ignored.

    Case is folded last: capitals look alike that are not alike when small, as В and B. What a
    capital I looks like is an l, so small i and l are one here.
    """
    folded = _skeleton(text).casefold().replace("i", "l")
    return " ".join(without_ignorable(unicodedata.normalize("NFKC", folded)).split())


def mixed_word(text: str) -> tuple[str, list[str]] | None:
    """The first word that mixes scripts whose letters look alike, and those scripts."""
    for found in _WORD.finditer(unicodedata.normalize("NFC", text)):
        scripts = [script for script, letters in _LETTERS if letters.search(found[0])]
        if len(scripts) > 1:
            return found[0], scripts
    return None


def _skeleton(text: str) -> str:
    shown = without_ignorable(unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", shown.translate(_PROTOTYPES))
