import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.access.token import PEPPER_FILE, Pepper, Token
from app.errors import UnusablePepper
from app.settings import Settings

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_REFUSED = r"does not look like|do not fit"
tokens = st.builds(
    Token,
    st.text(ALPHABET, min_size=12, max_size=12),
    st.text(ALPHABET, min_size=43, max_size=43),
)
# How long an example takes is the machine's business.
unhurried = settings(deadline=None)


@unhurried
@given(tokens)
def test_what_was_written_is_read_back(token: Token) -> None:
    assert Token.parse(token.text) == token


@unhurried
@given(tokens, st.data())
def test_any_one_wrong_character_is_found(token: Token, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token.text) - 1))
    typed = data.draw(st.characters(codec="latin-1"))
    assume(typed != token.text[place])
    mistyped = token.text[:place] + typed + token.text[place + 1 :]
    with pytest.raises(ValueError, match=_REFUSED):
        Token.parse(mistyped)


@unhurried
@given(tokens, st.data())
def test_two_neighbours_swapped_are_found(token: Token, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token.text) - 2))
    first, second = token.text[place], token.text[place + 1]
    assume(first != second)
    with pytest.raises(ValueError, match=_REFUSED):
        Token.parse(token.text[:place] + second + first + token.text[place + 2 :])


@unhurried
@given(st.text(max_size=80))
def test_other_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it does not look like lme_…$"):
        Token.parse(text)


@unhurried
@given(tokens, st.integers(1, 60))
def test_a_part_of_a_key_is_refused(token: Token, cut: int) -> None:
    with pytest.raises(ValueError, match="does not look like"):
        Token.parse(token.text[:-cut])


def test_no_two_are_alike_and_each_has_the_form_that_scanners_look_for() -> None:
    drawn = [Token.draw() for _ in range(2_000)]
    assert len({token.kid for token in drawn}) == len(drawn)
    assert len({token.secret for token in drawn}) == len(drawn)
    for token in drawn:
        assert Token.parse(token.text) == token
        assert len(token.text) == len("lme_") + 12 + len("_") + 43 + 6


def test_a_secret_has_256_bits() -> None:
    values = []
    for token in (Token.draw() for _ in range(500)):
        value = 0
        for digit in token.secret:
            value = value * 62 + ALPHABET.index(digit)
        values.append(value)
    assert max(values) < 2**256
    always, never = 2**256 - 1, 0
    for value in values:
        always, never = always & value, never | value
    assert (always, never) == (0, 2**256 - 1)  # every bit is drawn; wrong once in 10¹⁴⁷ runs


def test_a_secret_is_not_shown_by_accident() -> None:
    token = Token.draw()
    assert token.secret not in f"{token!r} {token}"


@unhurried
@given(tokens, tokens)
def test_a_digest_fits_its_own_key_only(one: Token, other: Token) -> None:
    assume(one != other)
    pepper = Pepper(b"p" * 32)
    assert one.fits(pepper, pepper.digest(one))
    assert not other.fits(pepper, pepper.digest(one))
    assert not one.fits(Pepper(b"q" * 32), pepper.digest(one))
    assert one.secret not in pepper.digest(one)


def test_all_who_come_first_get_one_pepper_that_only_the_owner_reads(tmp_path: Path) -> None:
    settings, token, start = Settings(data_dir=tmp_path), Token.draw(), threading.Barrier(8)

    def digest(_: int) -> str:
        start.wait()
        return Pepper.of(settings, make=True).digest(token)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(digest, range(8)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [PEPPER_FILE]
    assert stat.S_IMODE((tmp_path / PEPPER_FILE).stat().st_mode) == 0o600


def test_a_pepper_that_is_set_needs_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, key_pepper=SecretStr("p" * 32))
    token = Token.draw()
    assert Pepper.of(settings, make=True).digest(token) == Pepper(b"p" * 32).digest(token)
    assert list(tmp_path.iterdir()) == []


def test_a_pepper_that_is_lost_or_damaged_is_never_replaced(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(UnusablePepper, match="is missing"):
        Pepper.of(settings, make=False)
    (tmp_path / PEPPER_FILE).write_text("cut")
    with pytest.raises(UnusablePepper, match="holds no secret"):
        Pepper.of(settings, make=True)
    assert (tmp_path / PEPPER_FILE).read_text() == "cut"
