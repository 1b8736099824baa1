"""The dashboard and the alerts ask for series that exist, and the page on metrics has each."""

import json
import re
from pathlib import Path

import pytest

from app.metrics.metrics import Metrics
from app.metrics.mirrored import MIRRORED

_ROOT = Path(__file__).parents[3]
_DOCKER = _ROOT / "docker"


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
    asked = set(re.findall(r"\b(?:errata|process)_\w+", text))
    assert len(asked) > 5
    assert asked <= _existing()


def test_the_page_on_metrics_tells_of_every_series_and_no_other() -> None:
    rows = re.findall(
        r"^\| `((?:errata|process)_\w+)`", (_ROOT / "docs" / "metrics.md").read_text(), re.M
    )
    ends = ("_bucket", "_count", "_sum")
    assert sorted(rows) == sorted({_without(name, ends) for name in _existing()})


def _without(name: str, ends: tuple[str, ...]) -> str:
    return next((name.removesuffix(end) for end in ends if name.endswith(end)), name)
