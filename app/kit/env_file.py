"""The file `.env`: settings that only the user who runs a command can have written."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, DotEnvSettingsSource

from app.kit.logs import get_logger

#: names another file; empty for none
VARIABLE = "ERRATA_ENV_FILE"
_DEFAULT = ".env"
_ROOT = 0
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_log = get_logger(__name__)


class UnusableEnvFileError(Exception):
    """A file with settings is not there, or another user could have written it."""


def env_file() -> Path | None:
    """The file that settings are read from as well; None without one.

    Raises:
        UnusableEnvFileError: The one that was named is not there.
    """
    named = os.environ.get(VARIABLE)
    path = Path(_DEFAULT if named is None else named or os.devnull)
    if path.is_file():
        return path.absolute()
    if named:
        raise UnusableEnvFileError(f"{VARIABLE} names {path}, which is no file")
    return None


def tell_of_env_file() -> None:
    """Say in the log where else this process has settings from."""
    path = env_file()
    if path is not None:
        _log.info("settings_read_from_file", path=str(path))


class OwnEnvFile(DotEnvSettingsSource):
    """Reads `.env` in the working directory, or the file that ERRATA_ENV_FILE names.

    Settings decide which model is loaded and where data goes; and a command may be run in a folder
    that others write to. So the file is read only if it belongs to the user who runs the command,
    or to root, and no other user may write to it.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, env_file=env_file())

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        # What was opened is looked at and read: the name could be another file's a moment later.
        with file_path.open(encoding="utf-8") as file:
            _check_own(file_path, os.fstat(file.fileno()))
            return {name.lower(): value for name, value in dotenv_values(stream=file).items()}


def _check_own(path: Path, found: os.stat_result) -> None:
    """Make sure that only the user or root could have written a file.

    Raises:
        UnusableEnvFileError: Somebody could.
    """
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise UnusableEnvFileError(
            f"{path} belongs to another user ({found.st_uid}), so no settings are read from it; "
            f"run the command elsewhere, or name a file of your own with {VARIABLE}"
        )
    if found.st_mode & _BY_OTHERS:
        raise UnusableEnvFileError(
            f"{path} can be written by others ({stat.filemode(found.st_mode)}), so no settings are "
            f"read from it; if it is yours: chmod go-w {path}"
        )
