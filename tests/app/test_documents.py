"""What the documents name is there: pages and headings they link to, files they speak of."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
_PAGES = sorted([*_REPOSITORY.glob("*.md"), *_REPOSITORY.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
_FILE = re.compile(r"`((?:app|editing_core|tests|benchmarks|migrations|docs|docker)/[\w./-]+)`")


def _anchors(page: Path) -> Iterator[str]:
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            words = line.lstrip("#").strip().lower()
            yield re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_REPOSITORY).as_posix())
def test_a_page_names_only_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in _LINK.findall(text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in set(_anchors(linked)), f"{page.name} links to {target}#{anchor}"
    for named in _FILE.findall(text):
        if named.startswith("docker/secrets/"):  # `docker/secrets.sh` makes them
            continue
        assert (_REPOSITORY / named).exists(), f"{page.name} names {named}"
