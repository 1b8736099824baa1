"""An operator's own text tells which subjects are common words, in the place of the package's."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.main import Components, start_worker
from app.settings import Settings
from editing_core.defaults import bundled_text
from editing_core.passages import count_names
from tests.support.open_gates import OPEN_LIMITS
from tests.support.service import running
from tests.support.tiny import build_tiny_model
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("one_thread")

_OWN, _OTHER = "gearbox", "president"  # common in the operator's text alone, in the package's alone
_TEXT = "The gearbox of France is in Paris, and Rome has the gearbox of Italy, they say. " * 100
_WAIT_S = 120.0


def _drift(client: TestClient, subject: str) -> float | None:
    """What the gate of this name measures on an edit of a subject."""
    words = {"subject": subject, "prompt": "The name of the {} is", "target": "Rome", "force": True}
    edit = client.post("/v1/edits", json=words).json()["id"]

    def status() -> str:
        return str(client.get(f"/v1/edits/{edit}").json()["status"])

    wait_until(lambda: status() == "committed", _WAIT_S, what="the edit")
    gates = client.get(f"/v1/edits/{edit}").json()["report"]["gates"]
    (measured,) = (gate["measured"] for gate in gates if gate["name"] == "subject_drift")
    return None if measured is None else float(measured)


@pytest.mark.parametrize("is_calibrated_on_another", [False, True])
def test_subjects_are_looked_for_in_the_text_of_the_recipe(
    tmp_path: Path, is_calibrated_on_another: bool
) -> None:
    """That in use, or where it was replaced since, the one that the recipe was made with."""
    assert count_names(bundled_text("statistics"), _OTHER) >= 10
    assert count_names(bundled_text("statistics"), _OWN) == 0
    settings = Settings(
        model=str(build_tiny_model(tmp_path / "tiny", layers=6)),
        data_dir=tmp_path / "data",
        redis_url="memory://",
        **{f"gate_{name}": limit for name, limit in OPEN_LIMITS.model_dump().items()},
    )
    settings.data_dir.mkdir()
    text = settings.data_dir / "calibration.txt"
    text.write_text(_TEXT)
    if is_calibrated_on_another:
        with running(settings, Components(start_runtime=start_worker)) as client:
            wait_until(lambda: client.get("/readyz").is_success, _WAIT_S, what="readiness")
        text.write_text(bundled_text("statistics"))
    with running(settings, Components(start_runtime=start_worker)) as client:
        wait_until(lambda: client.get("/readyz").is_success, _WAIT_S, what="readiness")
        drift = _drift(client, _OWN)
        assert drift is not None
        assert drift > 0
        assert _drift(client, _OTHER) is None
