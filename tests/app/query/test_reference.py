import pytest

from app.errors import UnknownModel, UnknownRevision
from app.query.reference import revision_of


@pytest.mark.parametrize(
    ("reference", "revision"),
    [(None, None), ("m", None), ("m@head", None), ("m@0", 0), ("m@17", 17)],
)
def test_a_reference_pins_a_revision_or_means_the_head(
    reference: str | None, revision: int | None
) -> None:
    assert revision_of(reference, "m") == revision


def test_a_name_may_hold_an_at_sign_itself() -> None:
    assert revision_of("org/m@v2", "org/m@v2") is None
    assert revision_of("org/m@v2@3", "org/m@v2") == 3


@pytest.mark.parametrize("reference", ["", "other", "other@3", "M", "mm@1"])
def test_another_model_is_unknown(reference: str) -> None:
    with pytest.raises(UnknownModel, match="m@<revision>"):
        revision_of(reference, "m")


@pytest.mark.parametrize("suffix", ["", "-1", "+1", "1.0", "tail", "٣", " 1", "9" * 5000])
def test_what_follows_the_at_sign_must_be_a_number_or_head(suffix: str) -> None:
    with pytest.raises(UnknownRevision):
        revision_of(f"m@{suffix}", "m")
