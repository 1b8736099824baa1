"""What every service of docker-compose.yml and every stage of the image must have."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.proxy import make_secrets

_REPOSITORY = Path(__file__).parents[2]
_COMPOSE: dict[str, Any] = yaml.safe_load((_REPOSITORY / "docker-compose.yml").read_text())
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_DOCKERFILE = (_REPOSITORY / "docker" / "Dockerfile").read_text()
_PINNED = re.compile(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}")

each_service = pytest.mark.parametrize("name", _SERVICES)


@each_service
def test_a_service_has_no_right_that_it_does_not_need(name: str) -> None:
    service = _SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "devices", "pid", "ipc", "network_mode"} & set(service)
    assert service.get("user", "10001:10001") not in ("root", "0", "0:0")


@each_service
def test_a_service_cannot_use_up_the_machine(name: str) -> None:
    service = _SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert service["ulimits"]["nofile"] > 0
    assert service["logging"]["options"]["max-size"]
    assert "healthcheck" in service or "HEALTHCHECK" in _DOCKERFILE


@each_service
def test_an_image_is_named_by_tag_and_digest(name: str) -> None:
    service = _SERVICES[name]
    images = re.findall(r"^FROM (\S+)", _DOCKERFILE, re.M) if "build" in service else []
    for image in images or [service["image"]]:
        assert _PINNED.fullmatch(image)


@each_service
def test_a_secret_is_a_file_and_never_in_the_environment(name: str) -> None:
    service = _SERVICES[name]
    used = set(service.get("secrets", ()))
    assert used <= set(_COMPOSE["secrets"])
    for variable, value in service.get("environment", {}).items():
        assert "${" not in str(value)
        if re.search("PASSWORD|URL|PEPPER|KEY", variable):
            assert variable.endswith("_FILE")
            assert Path(value).name in used
    assert not re.search(r"://|requirepass|password", json.dumps(service.get("command", "")))


def test_database_and_queue_are_out_of_reach_of_the_proxy_and_of_the_world() -> None:
    networks = {name: set(service["networks"]) for name, service in _SERVICES.items()}
    assert not (networks["database"] | networks["queue"]) & networks["proxy"]
    assert not networks["database"] & networks["queue"]
    leading_out = {n for n, how in _COMPOSE["networks"].items() if not (how or {}).get("internal")}
    assert {name for name, own in networks.items() if own & leading_out} == {"proxy"}
    assert {name for name, service in _SERVICES.items() if "ports" in service} == {"proxy"}
    (port,) = _SERVICES["proxy"]["ports"]
    assert port.startswith("${ERRATA_ADDRESS:-127.0.0.1}:")


def test_secrets_are_what_the_script_makes_and_git_ignores(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "docker")
    for secret in _COMPOSE["secrets"].values():
        assert (made / Path(secret["file"]).name).stat().st_size
        ignored = ["git", "check-ignore", "--quiet", "--no-index", secret["file"]]
        assert subprocess.run(ignored, cwd=_REPOSITORY, check=False).returncode == 0
    assert made.stat().st_mode & 0o777 == 0o700
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    (made / "queue_url").unlink()
    subprocess.run(["sh", made.parent / "secrets.sh"], check=True)
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before


class _Readiness(BaseHTTPRequestHandler):
    """Ready, until the server is told otherwise."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing to the terminal."""


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_images_health_check_asks_the_port_that_is_set(status: int, healthy: bool) -> None:
    told = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])\n", _DOCKERFILE, re.S)
    assert told is not None
    python, *arguments = json.loads(told[1])
    assert python == "python"
    handler = type("_Handler", (_Readiness,), {"status": status})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "ERRATA_PORT": str(server.server_port)},
            capture_output=True,
            check=False,
        )
        server.shutdown()
    assert (done.returncode == 0) is healthy


def test_the_image_is_installed_by_digests_from_one_index_at_a_time() -> None:
    commands = re.findall(r"pip install[^&;\\\n]*", _DOCKERFILE)
    own = [command for command in commands if "--require-hashes" not in command]
    assert [command.split() for command in own] == [["pip", "install", "--no-deps", "."]]
    assert "--extra-index-url" not in _DOCKERFILE
    assert not re.search(r"apt-get|build-essential|\bgcc\b", _DOCKERFILE)
    *_, final = re.split(r"^FROM ", _DOCKERFILE, flags=re.M)
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert "pip install" not in final
