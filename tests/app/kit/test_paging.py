from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from app.kit.paging import fitting, page_of


class Item(BaseModel):
    number: int
    text: str = ""


def test_items_are_taken_as_long_as_they_fit_and_at_least_one_is() -> None:
    assert fitting([3, 3, 3], lambda size: size, most=9) == ([3, 3, 3], False)
    assert fitting([3, 3, 4], lambda size: size, most=9) == ([3, 3], True)
    assert fitting([50, 1], lambda size: size, most=9) == ([50], True)
    assert fitting([50], lambda size: size, most=9) == ([50], False)
    assert fitting([], int, most=9) == ([], False)


def test_no_more_items_are_made_than_one_that_does_not_fit() -> None:
    made = list[int]()

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield 10

    assert fitting(items(), lambda size: size, most=35) == ([10, 10, 10], True)
    assert len(made) == 4


@pytest.mark.parametrize(("sizes", "limit"), [([10] * 5, 2), ([600_000] * 5, 5), ([2**21] * 3, 3)])
def test_all_pages_together_hold_every_item_once(sizes: list[int], limit: int) -> None:
    items = [Item(number=place, text="x" * size) for place, size in enumerate(sizes)]
    after, found, pages = -1, list[Item](), 0
    while True:
        rows = [item for item in items if item.number > after][:limit]
        page, following = page_of(rows, lambda row: row, limit, lambda row: row.number)
        found, pages = found + page, pages + 1
        if following is None:
            break
        after = following
    assert found == items
    assert pages >= 3
