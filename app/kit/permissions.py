"""Files and folders that no other user of the machine may read."""

import os
from contextlib import suppress
from pathlib import Path

_OTHERS = 0o077
_PRIVATE = 0o700
_OPEN = 0o755


def keep_to_ourselves() -> None:
    """Let every file that this process makes be readable by its own user only."""
    os.umask(_OTHERS)


def make_private(folder: Path) -> None:
    """Make a folder, unless it is there, that others cannot enter; its parents, they can.

    Raises:
        OSError: It cannot be made.
    """
    parents = [parent for parent in folder.parents if not parent.exists()]
    for parent in reversed(parents):
        parent.mkdir(exist_ok=True)
        parent.chmod(_OPEN)
    folder.mkdir(mode=_PRIVATE, exist_ok=True)


def close_to_others(path: Path) -> bool:
    """Take from others what they may do with a file or folder of ours; whether it was anything."""
    try:
        found = path.lstat()
    except FileNotFoundError:  # a neighbour's file, such as SQLite's log, that just went
        return False
    if path.is_symlink() or found.st_uid != os.geteuid() or not found.st_mode & _OTHERS:
        return False
    with suppress(FileNotFoundError):
        path.chmod(found.st_mode & ~_OTHERS & 0o7777)
    return True
