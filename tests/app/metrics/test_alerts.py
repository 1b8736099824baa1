"""The alert rules, run by Prometheus' own tool on series as they come in trouble."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from app.metrics.metrics import Metrics

_DOCKER = Path(__file__).parents[3] / "docker"


def _promtool(*arguments: str, given: bytes = b"") -> str:
    tool = shutil.which("promtool")
    if tool is None:
        assert "CI" not in os.environ, "CI installs promtool (.ci/run)"
        pytest.skip("promtool is not installed (Debian, Ubuntu: apt-get install prometheus)")
    done = subprocess.run(
        [tool, *arguments], cwd=_DOCKER, input=given, capture_output=True, check=False
    )
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    return told


def test_alerts_fire_in_trouble_and_only_then() -> None:
    assert "SUCCESS" in _promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_proved_to_fire() -> None:
    rules = yaml.safe_load((_DOCKER / "alerts.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((_DOCKER / "alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules}


def test_prometheus_takes_rules_targets_and_series() -> None:
    _promtool("check", "rules", "alerts.yml")
    _promtool("check", "config", "--syntax-only", "prometheus.yml")
    _promtool("check", "metrics", given=generate_latest(Metrics().registry))
