import json
import sys
import unicodedata

import pytest

from app.kit.characters import escaped, hidden, name_of

SHOWN = [
    "Danielle Darrieux",
    "André",
    "Andre\u0301",
    "東京 Tower",
    "New\u00a0York",
    "نمی\u200cخواهم",  # Persian
    "کار\u200cهای",  # Persian, after a letter that does not join
    "نِ\u200cی",  # Persian, after a vowel mark
    "क्\u200dष",  # Hindi
    "র\u200d্য",  # Bengali
    "ශ්\u200dරී",  # Sinhala
    "ന്\u200d",  # Malayalam, at the end of a word
    "ᠮᠣᠩ\u180bᠭᠣᠯ",  # Mongolian
    "葛\U000e0100",  # an ideograph in one of its forms
    "\u06dd",  # a visible format character
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "👨\u200d👩\u200d👧",
    "👩🏽\u200d💻",
    "🏳\ufe0f\u200d🌈",
    "🇫🇷",
]
HIDDEN = [
    ("Paris\x1b[2J", 5),
    ("Paris\x07", 5),
    ("Paris\r", 5),
    ("Paris\x9b2J", 5),
    ("\u202eParis", 0),
    ("Pa\u200bris", 2),
    ("Pa\u2066ris\u2069", 2),
    ("Pa\u061cris", 2),
    ("Pa\u00adris", 2),
    ("\ufeffParis", 0),
    ("Paris\U000e0041", 5),  # a tag
    ("Paris\u2028", 5),
    ("Pa\u034fris", 2),
    ("Paris\u3164", 5),  # a filler
    ("Paris\ue000", 5),  # private use
    ("Paris\ufdd0", 5),  # a noncharacter
    ("Paris\U0003ffff", 5),
    ("Paris\ud800", 5),
    ("Pa\u200dris", 2),
    ("Pá\u200c\u0301ris", 2),
    ("Paris\u200c", 5),
    ("خانه\u200c", 4),
    ("نمی\u200c\u200cخواهم", 3),
    ("❤\u200d", 1),
    ("Pa\ufe0fris", 2),
    ("❤\ufe0f\ufe0f", 2),
]


@pytest.mark.parametrize("text", SHOWN)
def test_what_a_script_or_an_emoji_needs_is_in_order(text: str) -> None:
    assert hidden(text) is None
    assert escaped(text) == text


@pytest.mark.parametrize(("text", "place"), HIDDEN)
def test_what_is_not_shown_for_what_it_is_is_found_and_escaped(text: str, place: int) -> None:
    assert hidden(text) == place
    shown = escaped(text)
    assert hidden(shown) is None
    assert shown.startswith(text[:place] + "\\")


def test_layout_is_in_order_where_it_is_wanted_and_only_there() -> None:
    assert hidden("Q: a\n\tA:") == 4
    assert hidden("Q: a\n\tA:", layout=True) is None
    assert escaped("a\nb") == "a\\nb"
    assert escaped("a\nb\x1b", layout=True) == "a\nb\\x1b"


def test_no_control_and_no_bidirectional_control_is_shown_anywhere() -> None:
    """Every code point: alone, after a letter, and between two letters."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        controls = unicodedata.category(character) in {"Cc", "Cs", "Co"}
        if controls or unicodedata.bidirectional(character) in _BIDI_CONTROLS:
            assert hidden(character) == 0
            assert hidden(f"a{character}") == hidden(f"م{character}م") == 1


_BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\x1b", "U+001B ESCAPE"),
        ("\x9b", "U+009B CONTROL SEQUENCE INTRODUCER"),
        ("\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A"),
        ("\ue000", "U+E000"),
    ],
)
def test_a_character_is_told_by_code_point_and_name(character: str, name: str) -> None:
    assert name_of(character) == name


def test_an_escape_is_what_json_and_python_read_back() -> None:
    assert json.loads(f'"{escaped("x" + chr(0x202E))}"') == "x\u202e"
