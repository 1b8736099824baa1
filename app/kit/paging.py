"""Pages of lists: bounded by bytes as well as by the number of items."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from pydantic import BaseModel

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

#: about how much an answer may hold of a list; what is left out comes with the next page
PAGE_BYTES = 2**20


def fitting(
    items: Iterable[T], size: Callable[[T], int], *, most: int = PAGE_BYTES
) -> tuple[list[T], bool]:
    """The first of the items, as many as fit, but at least one; and whether it stopped early.

    No more items are made than are needed to find that out.
    """
    page, left = list[T](), most
    for item in items:
        left -= size(item)
        if page and left < 0:
            return page, True
        page.append(item)
    return page, False


def json_size(item: BaseModel) -> int:
    """How many bytes an item takes in an answer."""
    return len(item.model_dump_json())


def page_of(
    rows: Iterable[R], show: Callable[[R], M], limit: int, key: Callable[[R], int]
) -> tuple[list[M], int | None]:
    """A page of at most `limit` rows as they are shown, and its last one's key if more may follow.

    Args:
        rows: What was found, at most `limit`.
        show: Makes a row what the API shows.
        limit: How many were asked for.
        key: What the next page is to come after.
    """
    shown = ((row, show(row)) for row in rows)
    page, is_cut = fitting(shown, lambda pair: json_size(pair[1]))
    following = key(page[-1][0]) if page and (is_cut or len(page) == limit) else None
    return [item for _, item in page], following
