"""What stands between a prompt and its continuation in running text: one space, or nothing.

Most requests leave it open, so it follows from the characters on both sides. A script that
puts no spaces between words needs none, and neither does what opens: a bracket, a quotation, an
amount, a path.
"""

import unicodedata

import regex

from editing_core.words import UNSPACED, WORD

SPACE, NOTHING = " ", ""

_ALWAYS_OPEN = frozenset("/\\@#_")
_TIES = frozenset("-\N{EN DASH}\N{EM DASH}=<~")  # between words, unless a space is before them
_SIGNS = frozenset("-<~")  # of numbers
_CLOSING = frozenset(",;:!?%\N{HORIZONTAL ELLIPSIS}")
_EVEN_CLOSES = frozenset('"`')  # one mark for both ends: every second one closes
_APOSTROPHES = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}")
_SINGLE_OPENS = regex.compile(r"(?<!\p{L})['‘]")
_SINGLE_CLOSES = regex.compile(r"(?<=[\p{L}\p{P}])['’](?!\p{L})")
_ADDRESS = regex.compile(r"[/@\\_=(\[]|^www\.")  # in the last word: no sentence ends there


def separator_of(prompt: str, target: str) -> str:
    """What stands between a prompt and its target: ``SPACE`` or ``NOTHING``."""
    if not prompt or not target or prompt[-1].isspace() or target[0].isspace():
        return NOTHING
    if _is_unspaced(prompt, target) or _closes(prompt, target) or _opens(prompt, target):
        return NOTHING
    return SPACE


def _is_unspaced(prompt: str, target: str) -> bool:
    """Whether no space belongs between words here: by the end of the prompt or its language."""
    last = _last_letter(prompt)
    if UNSPACED.match(last) or _is_wide(last) or _is_wide(target[0]):
        return True
    # An English sentence keeps its spaces around a Chinese name, a Chinese one has none.
    is_unspaced = len(UNSPACED.findall(prompt)) > len(WORD.findall(prompt))
    return is_unspaced and UNSPACED.match(target) is not None


def _last_letter(prompt: str) -> str:
    """The last character, or what the vowels and tones at the end stand on."""
    marked = (character for character in reversed(prompt) if not _is_mark(character))
    return next(marked, prompt[-1])


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _is_wide(character: str) -> bool:
    """Whether it is punctuation that brings its own space, as of Chinese and Japanese."""
    is_sign = unicodedata.category(character)[0] == "P"
    return is_sign and unicodedata.east_asian_width(character) in "WF"


def _closes(prompt: str, target: str) -> bool:
    """Whether the target begins with what ends a phrase, such as a comma or a bracket."""
    first = target[0]
    if first in _CLOSING or unicodedata.category(first) == "Pe":
        return True
    if first == ".":
        return not target[1:2].isalnum() or _ADDRESS.search(_last_word(prompt)) is not None
    return first in _APOSTROPHES and not target[2:3].isalpha()  # "'s", or the end of a quotation


def _opens(prompt: str, target: str) -> bool:
    """Whether the prompt ends with what opens something that goes on at once."""
    last, before = prompt[-1], prompt[:-1]
    category = unicodedata.category(last)
    if (category == "Ps" and last != "\N{DOUBLE LOW-9 QUOTATION MARK}") or last in _ALWAYS_OPEN:
        return True
    if last in _APOSTROPHES and before[-1:].isalpha():
        return _elides(before)
    if last in _EVEN_CLOSES:
        return prompt.count(last) % 2 == 1
    if category in ("Pi", "Pf") or last in "'\N{DOUBLE LOW-9 QUOTATION MARK}":
        return not _ends_in_word(before)
    if category == "Sc":  # an amount follows, unless it came before
        return not before.rstrip()[-1:].isdigit()
    if last in _TIES:
        return _ends_in_word(before) or (last in _SIGNS and target[0].isdigit())
    return last == "." and _goes_on(before, target)


def _ends_in_word(text: str) -> bool:
    """Whether a word or a closed phrase ends here, rather than a space or an opening."""
    if not text or text[-1].isspace():
        return False
    return unicodedata.category(text[-1]) not in ("Ps", "Pi") and text[-1] not in "=<~/"


def _elides(before: str) -> bool:
    """Whether an apostrophe stands for a vowel (l', dell'), and ends no quotation or plural."""
    if len(_SINGLE_OPENS.findall(before)) > len(_SINGLE_CLOSES.findall(before)):
        return False
    word = _last_word(before)
    return len(word) == 1 or word[-1].lower() != "s"


def _goes_on(before: str, target: str) -> bool:
    """Whether a full stop is a part of an address or a number, not the end of a sentence."""
    if before[-1:].isdigit() and target[0].isdigit():
        return True
    return _ADDRESS.search(_last_word(before) + ".") is not None


def _last_word(text: str) -> str:
    return text.split()[-1] if text.split() else ""
