"""The dashboard and the alerts ask for series that exist."""

import json
import re
from pathlib import Path

import pytest

from app.observability.metrics import Metrics
from app.observability.state import MIRRORED

_DOCKER = Path(__file__).parents[3] / "docker"


def _existing() -> set[str]:
    names = set(MIRRORED)
    for family in Metrics().registry.collect():
        if family.type == "histogram":
            names |= {f"{family.name}_{end}" for end in ("bucket", "count", "sum")}
        else:
            names.add(family.name + ("_total" if family.type == "counter" else ""))
    return names


def _dashboard() -> str:
    panels = json.loads((_DOCKER / "grafana-dashboard.json").read_text())["panels"]
    return "\n".join(target["expr"] for panel in panels for target in panel["targets"])


@pytest.mark.parametrize("file", ["dashboard", "alerts"])
def test_every_series_asked_for_exists(file: str) -> None:
    text = _dashboard() if file == "dashboard" else (_DOCKER / "alerts.yml").read_text()
    asked = set(re.findall(r"\berrata_\w+", text))
    assert len(asked) > 5
    assert asked <= _existing()
