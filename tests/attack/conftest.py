"""The servers that are attacked, each started once; a table at the end shows what they bore."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.attackers import Attackers, attackers
from tests.attack.history import add_revisions, lengthen_ledger
from tests.attack.report import Report
from tests.attack.site import WatchedSite, first_key, keyed_site, open_site, prepared, watched

_REPORT = pytest.StashKey[Report]()
_DESCRIPTORS = 256
_ENTRIES = 30_000
_REVISIONS = 24
_TOKENS_PER_MINUTE = "200000"  # so that attacks need not be long to be over it
# Shorter deadlines than a server has: the attacks with silence wait until each has passed.
_IMPATIENT = {
    "ERRATA_HEADER_TIMEOUT_S": "4",
    "ERRATA_BODY_STALL_S": "6",
    "ERRATA_IDLE_TIMEOUT_S": "6",
}
_WIDE = {"hidden_size": 1024, "intermediate_size": 768}


@pytest.fixture(scope="session")
def report(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Report]:
    found = request.config.stash.setdefault(_REPORT, Report())
    yield found
    found.write(tmp_path_factory.getbasetemp() / "attacks.md")


@pytest.fixture(scope="session")
def attacking() -> Iterator[Attackers]:
    with attackers() as found:
        yield found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacked")


@pytest.fixture(scope="session")
def keyed(folder: Path, attacking: Attackers, report: Report) -> Iterator[WatchedSite]:
    """A server with keys."""
    model, data_dir = prepared(folder / "keyed")
    first_key(data_dir)
    lengthen_ledger(data_dir, _ENTRIES)
    with (
        keyed_site(data_dir, model, ERRATA_TOKENS_PER_MINUTE=_TOKENS_PER_MINUTE) as site,
        watched(site, attacking, report) as found,
    ):
        yield found


@pytest.fixture(scope="session")
def unguarded(folder: Path, attacking: Attackers, report: Report) -> Iterator[WatchedSite]:
    """A server in open mode."""
    with open_site(folder / "open") as site, watched(site, attacking, report) as found:
        yield found


@pytest.fixture(scope="session")
def narrow(folder: Path, attacking: Attackers, report: Report) -> Iterator[WatchedSite]:
    """A server with keys and few descriptors."""
    model, data_dir = prepared(folder / "narrow")
    with (
        keyed_site(data_dir, model, _DESCRIPTORS, **_IMPATIENT) as site,
        watched(site, attacking, report) as found,
    ):
        yield found


@pytest.fixture(scope="session")
def wide(folder: Path, attacking: Attackers, report: Report) -> Iterator[WatchedSite]:
    """A server whose edited matrices are large, with many revisions."""
    model, data_dir = prepared(folder / "wide", **_WIDE)
    with keyed_site(data_dir, model, ERRATA_BATCH_SIZE="1") as site:
        with site.admin as errata:
            add_revisions(errata, _REVISIONS)
        with watched(site, attacking, report) as found:
            yield found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(_REPORT, None)
    if found is not None and found.rows:
        terminalreporter.section("attacks")
        terminalreporter.write_line("\n".join(found.lines))
