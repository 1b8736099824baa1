"""The data directory at a start: closed to others, whatever was left open."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from app.errors import ForeignFolder
from app.kit.permissions import close_to_others, make_private

# Their files hold words or weights; other folders of a data directory are closed as a whole.
_LISTED = ("exports", "snapshots")


def guard_data_dir(data_dir: Path) -> int:
    """Make the data directory, or see to it that one that is there is closed to others.

    Where it is a link, what it leads to counts.

    Returns:
        How many files and folders others could have read until now.

    Raises:
        ForeignFolder: It belongs to somebody else.
        OSError: It cannot be made.
    """
    folder = data_dir.resolve()
    make_private(folder)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise ForeignFolder(data_dir, _user(owner), _user(os.geteuid()))
    return sum(close_to_others(path) for path in (folder, *_inside(folder)))


def _inside(folder: Path) -> Iterator[Path]:
    yield from folder.iterdir()
    for name in _LISTED:
        if (folder / name).is_dir():
            yield from (folder / name).iterdir()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
