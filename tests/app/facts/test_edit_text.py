from dataclasses import replace

import pytest

from app.facts.text import EditText, Neighbour, fact_digest, subject_digest

TEXT = EditText(
    subject="Danielle Darrieux",
    prompt="The mother tongue of {} is",
    template="The mother tongue of {} is",
    target="English",
    target_old="French",
    paraphrases=("Danielle Darrieux natively speaks",),
    neighbours=(Neighbour("Michel Rocard speaks", "French"), Neighbour("Paris is in")),
    metadata={"ticket": "KB-17"},
)
SALT, OTHER_SALT = "00" * 16, "01" * 16
_DIGEST = "f25dc873f287e0b9adf8d659150dfa421c4e87ebed71b1aeebffcf06693aeaba"  # of TEXT and SALT


def test_a_text_is_read_back_as_it_was_written() -> None:
    assert EditText.from_json(TEXT.to_json()) == TEXT


def test_the_digest_depends_on_text_and_salt() -> None:
    assert TEXT.digest(SALT) == TEXT.digest(SALT)
    assert TEXT.digest(SALT) != TEXT.digest(OTHER_SALT)
    shorter = EditText.from_json(TEXT.to_json() | {"metadata": {}})
    assert shorter.digest(SALT) != TEXT.digest(SALT)


def test_the_digest_covers_the_separators() -> None:
    assert TEXT.digest(SALT) == _DIGEST
    separated = replace(TEXT, separator="", neighbours=(Neighbour("Rome is", separator=" "),))
    assert EditText.from_json(separated.to_json()) == separated
    assert separated.digest(SALT) != TEXT.digest(SALT)


def test_case_and_white_space_do_not_make_another_subject_or_fact() -> None:
    assert subject_digest("Danielle Darrieux") == subject_digest(" DANIELLE\tdarrieux ")
    assert subject_digest("Straße") == subject_digest("STRASSE")
    assert fact_digest("A", "{} is") == fact_digest("a", " {}  IS")


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ("Andr\u00e9", "Andre\u0301"),
        ("Paris", "\uff30\uff41\uff52\uff49\uff53"),  # full width
        ("New York", "New\u00a0York"),
        ("Pa\u200bris", "Paris"),  # accepted before such characters were refused
        ("\ufb01sh", "fish"),
        ("\u1fb3", "\u0391\u0399"),
        ("\u0130zmir", "i\u0307zmir"),
    ],
)
def test_how_unicode_encodes_a_text_does_not_make_another_subject_or_fact(
    spelling: str, other: str
) -> None:
    assert subject_digest(spelling) == subject_digest(other)
    assert fact_digest(spelling, "{} is") == fact_digest(other, "{} is")


def test_a_look_alike_is_another_subject() -> None:
    assert subject_digest("Paris") != subject_digest("P\u0430ris")


def test_subject_and_prompt_do_not_run_into_each_other() -> None:
    assert fact_digest("a b", "{}") != fact_digest("a", "b {}")
