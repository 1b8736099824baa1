"""Characters that a reader does not see for what they are, and how they are told of instead.

A control character moves the cursor of a terminal, a bidirectional control reorders what is around
it, a zero-width character hides. A joiner or a variation selector is in order where a script or an
emoji needs it, and hides everywhere else.
"""

import unicodedata

import regex

# Scripts in whose words joiners have a meaning.
_JOINING = (
    r"[[\p{L}\p{M}]&&[\p{Arabic}\p{Syriac}\p{Mandaic}\p{Nko}\p{Mongolian}\p{Phags_Pa}\p{Adlam}"
    r"\p{Hanifi_Rohingya}\p{Sogdian}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}"
    r"\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Tibetan}\p{Myanmar}\p{Khmer}"
    r"\p{Balinese}\p{Javanese}]]"
)
_MARKS = r"[\p{M}&&\p{Inherited}]*"  # such as Arabic vowels
_PICTURE = r"\p{Extended_Pictographic}"
_ALWAYS = r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]"
_IGNORABLE = (
    r"[[\p{Cf}\p{Default_Ignorable_Code_Point}]"
    r"--[\u200c\u200d\p{Variation_Selector}\p{Prepended_Concatenation_Mark}]]"
)
_JOINER = (
    rf"[\u200c\u200d](?<!{_JOINING}{_MARKS}.(?={_JOINING})|\p{{ccc=9}}."
    rf"|{_PICTURE}[\ufe0f\p{{Emoji_Modifier}}]?\u200d(?={_PICTURE}))"
)
_SELECTOR = r"\p{Variation_Selector}(?<![\p{S}\p{Lo}\p{Emoji}].)"
_NOTHING_TO_SEE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}]", regex.VERSION1)
_HIDDEN = regex.compile(
    f"{_ALWAYS}|{_IGNORABLE}|{_JOINER}|{_SELECTOR}", regex.VERSION1 | regex.DOTALL
)
_LAYOUT = frozenset("\n\t")


def hidden(text: str, *, layout: bool = False) -> int | None:
    """Where the first character is that is not shown for what it is; None if there is none.

    Args:
        text: Any text.
        layout: Whether line feeds and tabs are in order.
    """
    for found in _HIDDEN.finditer(text):
        if not (layout and found[0] in _LAYOUT):
            return int(found.start())
    return None


def without_ignorable(text: str) -> str:
    """The text without all that has no shape of its own, for comparing."""
    return str(_NOTHING_TO_SEE.sub("", text))


def name_of(character: str) -> str:
    """A character by its code point and name: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(character, "") or _CONTROL_NAMES.get(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def escaped(text: str, *, layout: bool = False) -> str:
    r"""The text with what is not shown for what it is as an escape: `\x1b`, `\u202e`.

    Args:
        text: Any text.
        layout: Whether line feeds and tabs stay.
    """

    def shown(found: "regex.Match[str]") -> str:
        character: str = found[0]
        stays = layout and character in _LAYOUT
        return character if stays else character.encode("unicode_escape").decode("ascii")

    return str(_HIDDEN.sub(shown, text))


# Controls have no names of their own in Unicode; those that turn up are told by their aliases.
_CONTROL_NAMES = {
    "\x00": "NULL",
    "\x07": "BELL",
    "\x08": "BACKSPACE",
    "\t": "CHARACTER TABULATION",
    "\n": "LINE FEED",
    "\x0b": "LINE TABULATION",
    "\x0c": "FORM FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
    "\x9b": "CONTROL SEQUENCE INTRODUCER",
}
