"""One tour through a throw-away server: ask, edit, ask, audit, roll back, ask, verify."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from app.cli.display import draw, edit_table, ledger_table, outcome_line, say, table
from app.cli.local import settings_of
from app.client import ClientError, Errata
from app.kit.permissions import keep_to_ourselves

SUBJECT = "Danielle Darrieux"
PROMPT = "The mother tongue of {} is"
OLD, NEW = "French", "English"
QUESTION = PROMPT.format(SUBJECT)
PARAPHRASE = "Danielle Darrieux natively speaks"
NEIGHBOUR = "Michel Rocard is a native speaker of"

_READY_S = 1800.0  # the first start converts the model and collects statistics
_STOP_S = 30.0
_POLL_S = 0.3
_DIGEST_CHARS = 24
_KEPT_SETTINGS = (
    "ERRATA_MODEL",
    "ERRATA_DEVICE",
    "ERRATA_SOLVE_DEVICE",
    "ERRATA_DTYPE",
    "ERRATA_METHOD",
)


@dataclass(frozen=True)
class Check:
    """Something the tour promises, and whether it held."""

    what: str
    held: bool


class Tour:
    """Asks, shows, and remembers what did not hold."""

    def __init__(self, errata: Errata, console: Console) -> None:
        self._errata = errata
        self._console = console
        self.checks: list[Check] = []

    def run(self) -> None:
        """The whole tour, in order."""
        self._step("1. Ask the model as it was downloaded")
        self._ask({QUESTION: OLD, PARAPHRASE: OLD, NEIGHBOUR: OLD})
        self._step(f"2. Correct it: {QUESTION} {NEW}")
        self._edit()
        self._step("3. Ask again: the fact in two wordings, and a neighbour that must not change")
        self._ask({QUESTION: NEW, PARAPHRASE: NEW, NEIGHBOUR: OLD})
        self._step("4. Roll back to revision 0 and ask again")
        self._roll_back()
        self._ask({QUESTION: OLD, PARAPHRASE: OLD, NEIGHBOUR: OLD})
        self._step("5. Audit: everything that happened is in the ledger")
        self._audit()

    def _step(self, title: str) -> None:
        say(self._console, "")
        say(self._console, title, "bold")

    def _ask(self, expected: dict[str, str]) -> None:
        probes = [(prompt, f" {answer}") for prompt in expected for answer in (OLD, NEW)]
        measured = iter(self._errata.probe(probes).results)
        rows = []
        for prompt, answer in expected.items():
            said = self._errata.complete(prompt, max_tokens=6)
            p = {word: next(measured).revisions["head"].p for word in (OLD, NEW)}
            held = p[answer] > p[NEW if answer == OLD else OLD]
            self.checks.append(Check(f"revision {said.revision}: {prompt} {answer}", held))
            text = said.choices[0].text.strip().partition("\n")[0]
            verdict = f"{answer}: {'yes' if held else 'NO'}"
            rows.append([prompt, f"{text} …", f"{p[OLD]:.1%}", f"{p[NEW]:.1%}", verdict])
        headings = ["prompt", "the model goes on", f"p({OLD})", f"p({NEW})", "expected"]
        draw(table(headings, rows, f"Revision {said.revision}"), self._console)

    def _edit(self) -> None:
        edit = self._errata.submit(
            SUBJECT, PROMPT, NEW, target_old=OLD, paraphrases=[PARAPHRASE], neighbours=[NEIGHBOUR]
        )
        edit = self._errata.wait(edit.id)
        self.checks.append(Check("the edit is committed", edit.status == "committed"))
        draw(edit_table(edit) or Text(outcome_line(edit)), self._console)

    def _roll_back(self) -> None:
        operation = self._errata.rollback(0, reason="end of the tour")
        operation = self._errata.wait_operation(operation.id)
        self.checks.append(Check("the rollback is committed", operation.status == "committed"))
        self._tell(outcome_line(operation))
        revisions = list(self._errata.revisions())
        digests = [(r.number, r.kind, r.weights_digest[:_DIGEST_CHARS]) for r in revisions]
        title = "SHA-256 of the edited matrices: the last equals the first, bit for bit"
        draw(table(["revision", "kind", "digest (begin)"], digests, title), self._console)
        same = revisions[0].weights_digest == revisions[-1].weights_digest
        self.checks.append(Check("rolling back restores the digest of the base", same))

    def _audit(self) -> None:
        draw(ledger_table(self._errata.ledger()), self._console)
        verdict = self._errata.verify()
        self.checks.append(Check("the hash chain of the ledger holds", verdict.ok))
        self._tell(f"{verdict.entries} entries checked; head of the chain {verdict.head_hash}")

    def _tell(self, line: str) -> None:
        say(self._console, line)


@contextmanager
def throw_away_server(cache_dir: Path) -> Iterator[str]:
    """The address of a server with empty data, stopped and removed at the end.

    Args:
        cache_dir: Converted models and statistics, kept between servers.
    """
    with tempfile.TemporaryDirectory(prefix="errata-demo-") as folder:
        port = _free_port()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ERRATA_") or name in _KEPT_SETTINGS
        } | {
            "ERRATA_DATA_DIR": folder,
            "ERRATA_CACHE_DIR": str(cache_dir),
            "ERRATA_HOST": "127.0.0.1",
            "ERRATA_LOG_LEVEL": "warning",
            "ERRATA_PORT": str(port),
        }
        command = [sys.executable, "-m", "app.cli", "serve"]
        # The folder is also the working directory: the caller's .env is not the tour's.
        server = subprocess.Popen(command, cwd=folder, env=environment)  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(server, url)
            yield url
        finally:
            _stop(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_S
    with Errata(url) as errata:
        while not errata.is_ready():
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with status {server.returncode}; see above")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server was not ready after {_READY_S:g} s")
            time.sleep(_POLL_S)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> int:
    """Run the tour; 0 if everything it promises held."""
    keep_to_ourselves()
    console = Console()
    say(console, "Starting a throw-away server; the first time the model is prepared, once.")
    try:
        with throw_away_server(settings_of({}).cache_dir) as url, Errata(url) as errata:
            tour = Tour(errata, console)
            tour.run()
    except (ClientError, RuntimeError) as error:
        say(console, f"errata: {error}", "red")
        return 1
    broken = [check.what for check in tour.checks if not check.held]
    for what in broken:
        say(console, f"Did not hold: {what}", "red")
    if not broken:
        say(console, "")
        say(console, f"All {len(tour.checks)} checks held.", "green")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
