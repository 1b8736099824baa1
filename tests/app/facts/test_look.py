import pytest

from app.facts.look import look, mixed_word

ALIKE = [
    ("Paris", "P\u0430ris"),  # one Cyrillic letter
    ("Paris", "\u0420\u0430r\u0456\u0455"),
    ("Paris", "P\u0410RIS"),
    ("Boris", "\u0412oris"),  # alike as capitals only
    ("Al Gore", "AI Gore"),
    ("O2", "02"),
    ("Cambridge", "Carnbridge"),
    ("Paris", "Pa\u200bris"),
    ("New York", "New\u00a0\u00a0York"),
]


@pytest.mark.parametrize(("subject", "other"), ALIKE)
def test_subjects_that_look_alike_are_told_by_one_look(subject: str, other: str) -> None:
    assert look(subject) == look(other)


@pytest.mark.parametrize(
    ("subject", "other"), [("Paris", "Rome"), ("Paris", "Parris"), ("München", "Munchen")]
)
def test_subjects_that_do_not_look_alike_have_looks_of_their_own(subject: str, other: str) -> None:
    assert look(subject) != look(other)


def test_letters_of_two_scripts_in_one_word_are_noticed() -> None:
    assert mixed_word("the P\u0430ris Agreement") == ("P\u0430ris", ["Latin", "Cyrillic"])


@pytest.mark.parametrize(
    "subject", ["Paris", "Сбербанк (Sberbank)", "東京Tower", "カラオケDAM", "Ω-3 and 5 µm", "José"]
)
def test_words_of_one_script_beside_another_are_in_order(subject: str) -> None:
    assert mixed_word(subject) is None
