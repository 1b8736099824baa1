"""Where words begin and end, in the scripts that part them."""

import regex

_SCRIPTS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]"
_LETTERS = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_SCRIPTS}]"

UNSPACED = regex.compile(_SCRIPTS)
"""A letter of a script that puts no space between words; Korean does."""

WORD = regex.compile(f"{_LETTERS}+", regex.V1)
"""A word of any other script."""

_LETTER = regex.compile(_LETTERS, regex.V1)
_HANGUL = regex.compile(r"\p{Hangul}")


def touches_word(text: str, start: int, length: int) -> bool:
    """Whether a piece of a text begins or ends inside a word.

    A mark that stands on its last letter makes another letter of that. Korean puts particles at
    the end of a word, so there only the beginning counts.
    """
    end = start + length
    first, last = text[start : start + 1], text[end - 1 : end]
    before, after = text[:start][-1:], text[end : end + 1]
    if _inside(before, first):
        return True
    return regex.match(r"\p{M}", after) is not None or (
        _inside(last, after) and not (_HANGUL.match(last) and _HANGUL.match(after))
    )


def word_around(text: str, place: int) -> str:
    """The word that the character at a place is part of; the character itself if it has none."""
    for found in WORD.finditer(text):
        if found.start() <= place < found.end():
            return str(found[0])
    return text[place]


def _inside(left: str, right: str) -> bool:
    return bool(left and right and _LETTER.match(left) and _LETTER.match(right))
