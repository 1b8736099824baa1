"""SIGKILL in every step of an export: it ends well after a restart, and half a file is nobody's."""

import hashlib
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from app.client import ServerAway
from app.kit.failpoints import ExportFailpoint
from tests.crash.child import started
from tests.crash.conftest import Installation
from tests.support.waiting import wait_until

_WAIT_S = 60.0

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


# With half the files, and with a whole one that the database does not know.
_OFTEN = {("sqlite", ExportFailpoint.WRITTEN), ("sqlite", ExportFailpoint.STORED)}


def _points() -> list[object]:
    return [
        pytest.param(engine, point, id=f"{engine}-{point}", marks=_marks(engine, point))
        for engine in ("sqlite", "postgres")
        for point in ExportFailpoint
    ]


def _marks(engine: str, point: ExportFailpoint) -> list[pytest.MarkDecorator]:
    marks = [] if (engine, point) in _OFTEN else [pytest.mark.matrix]
    return [*marks, pytest.mark.postgres] if engine == "postgres" else marks


@pytest.mark.parametrize(("template", "point"), _points(), indirect=["template"])
def test_a_killed_export_is_written_again_and_never_half_downloadable(
    installation: Installation, point: ExportFailpoint, tmp_path: Path
) -> None:
    settings, log = installation.settings, installation.log
    with started(settings, log, armed=point) as child:
        child.await_ready()
        with suppress(ServerAway):  # it may be killed before it has answered
            child.errata.exports.start("merged")
        child.process.join(_WAIT_S)
        assert child.was_killed, log.read_text()
    with started(settings, log) as child:
        wait_until(lambda: child.answers, _WAIT_S, what="the restart")
        (export_id,) = (export.id for export in child.errata.exports.all())
        path, seen = f"{child.url}/v1/exports/{export_id}/download", set[int]()

        def has_file() -> bool:
            response = httpx2.get(path)
            seen.add(response.status_code)
            return response.status_code == 200

        wait_until(has_file, _WAIT_S, what="the end of the export")
        assert seen <= {409, 200}
        export = child.errata.exports.get(export_id)
        assert (export.status, export.progress) == ("finished", 1.0)
        child.errata.exports.download(export, tmp_path / "out.tar")
        data = (tmp_path / "out.tar").read_bytes()
        assert hashlib.sha256(data).hexdigest() == export.digest
    left = [path.name for path in (settings.data_dir / "exports").iterdir()]
    assert left == [f"{export_id}.tar"]
