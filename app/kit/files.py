"""Secrets in files: made once and kept beside the data, or handed over by an operator."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def secret_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds, made if there is none; all who come first get the same.

    It appears whole, on disk, and readable by its owner only.
    """
    if not path.exists():
        _create(path, make())
    return path.read_bytes()


def read_secret(path: Path) -> str:
    """The secret that somebody put into a file, without white space around it.

    Raises:
        ValueError: It cannot be read, or holds none.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a secret: {error}") from error
    if not secret:
        raise ValueError(f"{path} holds no secret")
    return secret


def _create(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")  # its mode is 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
