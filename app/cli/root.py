"""Whose rights a process has that serves."""

import os

from rich.console import Console

from app.cli.display import say
from app.kit.logs import get_logger

_log = get_logger(__name__)


def warn_of_root(console: Console) -> None:
    """Say it where a service runs as root, which it need not."""
    if os.geteuid() == 0:
        _log.warning("running_as_root")
        say(
            console,
            "Running as root: give Errata a user of its own, who owns its data directory only",
        )
