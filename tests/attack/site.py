"""Servers to be attacked, as `errata serve` starts them, and the keys of their attackers."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

from app.access.scopes import Scope
from app.client import Errata
from tests.acceptance.server import Server, environment, running
from tests.attack.attackers import Attack, Attackers, P
from tests.attack.raw import Answer, Target
from tests.attack.report import Report
from tests.attack.witness import Witness
from tests.support.tiny import build_tiny_model

_PATIENCE_S = 240.0
#: enough for prompts that cost something
_POSITIONS = 8192
_WORDS = 3_000


@dataclass(frozen=True)
class Site:
    """A server and its keys.

    Attributes:
        server: The process.
        data_dir: Its data directory.
        admin_key: A key that may do everything; None in open mode.
    """

    server: Server
    data_dir: Path
    admin_key: str | None

    @property
    def admin(self) -> Errata:
        """A client that may do everything."""
        return Errata(self.server.url, self.admin_key)

    def target(self, *scopes: Scope) -> Target:
        """The server as a new key with these scopes reaches it; without any, as a stranger does.

        New, because what an earlier attack has used up is its key's.
        """
        if not scopes:
            return self.reached_by(None)
        with self.admin as errata:
            return self.reached_by(errata.keys.create(scopes).key)

    def reached_by(self, key: str | None) -> Target:
        """The server as this key reaches it."""
        host, _, port = self.server.url.removeprefix("http://").rpartition(":")
        return Target(host, int(port), key)


@dataclass(frozen=True)
class WatchedSite(Site):
    """A site with a witness, who sees what attacks do to it."""

    witness: Witness
    attackers: Attackers
    report: Report

    def attack(self, attack: Attack[P], *args: P.args, **named: P.kwargs) -> list[Answer]:
        """Attack the server; while it lasts, memory, pulse and the client must not suffer."""
        with self.witness.watching() as seen:
            answers = self.attackers.begin(attack, *args, **named).result(_PATIENCE_S)
        self.report.add(attack.__name__, answers, seen)
        assert not seen.flaws, "; ".join(seen.flaws)
        return answers


def prepared(folder: Path, **sizes: int) -> tuple[str, Path]:
    """A tiny model with a long context, and a data directory for it."""
    data_dir = folder / "data"
    data_dir.mkdir(parents=True)
    (data_dir / "calibration.txt").write_text(_varied_text())
    shape = {"max_position_embeddings": _POSITIONS, **sizes}
    model = build_tiny_model(folder / "tiny", sizes=shape)
    return str(model), data_dir


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """A server for which no key was ever made."""
    model, data_dir = prepared(folder)
    with running(data_dir, model) as server:
        yield Site(server, data_dir, None)


@contextmanager
def keyed_site(
    data_dir: Path, model: str, descriptors: int | None = None, /, **settings: str
) -> Iterator[Site]:
    """A server with a key of each scope; the first is made before it starts."""
    admin_key = first_key(data_dir)
    with running(data_dir, model, descriptors, **settings) as server:
        yield Site(server, data_dir, admin_key)


@contextmanager
def watched(site: Site, attackers: Attackers, report: Report) -> Iterator[WatchedSite]:
    """The site with a witness, whose key is no attacker's."""
    key = None if site.admin_key is None else site.target(Scope.QUERY, Scope.EDIT).key
    witness = Witness(site.server, key)
    yield WatchedSite(site.server, site.data_dir, site.admin_key, witness, attackers, report)
    witness.close()


def _varied_text() -> str:
    """Enough different keys for wide matrices."""
    draw = random.Random(0)
    return " ".join("".join(draw.choices(ascii_lowercase, k=5)) for _ in range(_WORDS))


def first_key(data_dir: Path) -> str:
    """A key that may do everything, made on the data directory."""
    command = [sys.executable, "-m", "app.cli", "keys", "create", "--scope", "admin", "--json"]
    made = subprocess.run(
        command, cwd=data_dir.parent, env=environment(data_dir), capture_output=True, check=True
    )
    return str(json.loads(made.stdout)["key"])
