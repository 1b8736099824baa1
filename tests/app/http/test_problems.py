import pytest
from fastapi import Request

from app import errors
from app.errors import ErrataError, InvalidField
from app.http.problems import field_name, problem_response


@pytest.mark.parametrize(
    ("location", "name"),
    [
        (("body",), ""),
        (("body", "subject"), "subject"),
        (("body", "neighbours", 0, "prompt"), "neighbours[0].prompt"),
        (("query", "limit"), "limit"),
        (("body", "x" * 500), "x" * 120 + "…"),
    ],
)
def test_a_field_is_named_as_a_client_would_write_it(
    location: tuple[int | str, ...], name: str
) -> None:
    assert field_name(location) == name


def test_a_problem_can_hold_any_character() -> None:
    request = Request({"type": "http", "path": "/v1/\ud800", "method": "GET", "headers": []})
    response = problem_response(request, status=422, code="invalid_field", detail="\ud800\x00é")
    assert bytes(response.body).isascii()


def _family(root: type[ErrataError]) -> list[type[ErrataError]]:
    return [root, *(heir for child in root.__subclasses__() for heir in _family(child))]


def test_the_tree_drawn_at_the_top_is_complete() -> None:
    drawn = errors.__doc__ or ""
    for member in _family(ErrataError):
        assert member.__name__ in drawn


def test_codes_are_unique_and_every_class_says_when_it_is_raised() -> None:
    family = _family(ErrataError)
    # One without a code of its own reads to a client as its parent does.
    codes = [member.code for member in family if "code" in vars(member)]
    assert len(set(codes)) == len(codes)
    assert all(member.__doc__ for member in family)


def test_an_invalid_field_is_named() -> None:
    error = InvalidField("prompt", "prompt is empty")
    assert (error.status, error.field, error.message) == (422, "prompt", "prompt is empty")
