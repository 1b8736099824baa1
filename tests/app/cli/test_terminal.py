"""What the commands print when a server, a file or a database answers with what is not to be shown.

Everything is real: a server on a socket that means harm, the commands' own entry, their output.
"""

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import text
from typer.main import get_command

from app.cli.main import cli, main
from app.database.database import Database
from app.kit.characters import hidden

EVIL = "x\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b1A\r\x08\u202e\u200b\u2066\nall is well [red]y[/bold]\x7f"

_SCORE = {"logprob": -1.0, "p": 0.5, "rank": 1, "argmax": EVIL, "match": True}
_STANDING = {"p_target": 0.5, "rank_target": 1, "argmax": EVIL}
_GATE = {"name": EVIL, "measured": 0.5, "allowed": 0.5, "passed": False}
_EDIT = {
    "id": EVIL,
    "seq": 1,
    "status": "committed",
    "subject": EVIL,
    "prompt": EVIL + "{}",
    "target": EVIL,
    "method": EVIL,
    "attempts": 1,
    "revision": 1,
    "reason": EVIL,
    "report": {"before": _STANDING, "after": _STANDING, "gates": [_GATE]},
    "as_edited": None,
    "erased_at": None,
    "withdrawn": [],
    "warnings": [EVIL],
    "look_alikes": [{"subject": EVIL, "edit": EVIL}],
}
_OPERATION = {
    "id": EVIL,
    "kind": EVIL,
    "status": "rejected",
    "revision": None,
    "reason": EVIL,
    "erased_at": None,
    "report": None,
}
_REVERTED_FACT = {"edit": EVIL, "before": {"p_target": 0.5, "match": True}, "after": None}
_REVERTED = {
    "undone": _REVERTED_FACT,
    "restored": _REVERTED_FACT,
    "siblings": [_REVERTED_FACT],
    "lost": [EVIL],
    "solved_again": False,
    "refused": EVIL,
}
_ENTRY = {"index": 0, "actor": EVIL, "at": EVIL, "prev_hash": EVIL, "hash": EVIL}
_ENTRIES = [
    {**_ENTRY, "kind": "revision", "payload": {"number": EVIL, "kind": EVIL, "operations": [EVIL]}},
    {**_ENTRY, "kind": "base", "payload": {"model": EVIL}},
    {**_ENTRY, "kind": "erasure", "payload": {"id": EVIL}},
    {**_ENTRY, "kind": "key", "payload": {"id": EVIL, "scopes": [EVIL]}},
    {**_ENTRY, "kind": "snapshot", "payload": {"revision": EVIL, "label": EVIL}},
    {**_ENTRY, "kind": EVIL, "payload": {"id": EVIL, "status": EVIL, "reason": EVIL}},
]
_FACT = {"edit": EVIL, "seq": 1, "subject": EVIL, "prompt": "{}" + EVIL, "target": EVIL}
_SAID = {"revision": 1, "text": EVIL, "finish_reason": EVIL}
_REVISION = {
    "number": 1,
    "parent": 0,
    "kind": EVIL,
    "edits": [EVIL],
    "live_edits": 1,
    "resolved": [EVIL],
    "weights_digest": EVIL,
    "created_at": EVIL,
    "withdrawn_at": None,
}
_EXPORT = {
    "id": "export_1",
    "format": EVIL,
    "revision": 1,
    "created_by": EVIL,
    "status": "failed",
    "progress": 0.5,
    "bytes": None,
    "digest": EVIL,
    "reason": EVIL,
    "warnings": [EVIL],
    "download": None,
}
_QUEUE = {
    "state": "paused",
    "paused_at": EVIL,
    "paused_by": EVIL,
    "reason": EVIL,
    "waiting": {EVIL: 1},
    "in_hand": {EVIL: 0},
}
_DRIFT = {"revision": 1, "kind": EVIL, "live_edits": 1, "perplexity": 1.0, "layers": []}
_PROBE = {"edit": EVIL, "prompt": EVIL, "target": EVIL, "from": _SCORE, "to": _SCORE}
_ANSWERS: dict[str, Any] = {
    "/v1/edits": _EDIT,
    "/v1/edits/e": _EDIT,
    "/v1/edits/e/requeue": _EDIT,
    "/v1/edits/e/revert": {**_OPERATION, "report": _REVERTED},
    "/v1/edits/e/withdraw": _EDIT,
    "/v1/operations/o/erase": _OPERATION,
    "/v1/rollbacks": _OPERATION,
    "/v1/queue": _QUEUE,
    "/v1/queue/pause": _QUEUE,
    "/v1/snapshots": {
        "revision": 1,
        "label": EVIL,
        "automatic": False,
        "digest": EVIL,
        "created_at": EVIL,
    },
    "/v1/models": {"data": [{"id": EVIL, "revision": 1}]},
    "/v1/completions": {"model": EVIL, "revision": 1, "choices": [{"index": 0, **_SAID}]},
    "/v1/chat/completions": {
        "model": EVIL,
        "revision": 1,
        "choices": [
            {"index": 0, "message": {"role": EVIL, "content": EVIL}, "finish_reason": EVIL}
        ],
    },
    "/v1/ledger": {"items": _ENTRIES, "next": None},
    "/v1/ledger/verify": {
        "ok": True,
        "entries": 1,
        "head_hash": EVIL,
        "first_bad": None,
        "bad_artefact": None,
        "bad_row": None,
    },
    "/v1/diff": {
        "from": 0,
        "to": 1,
        "same_weights": False,
        "counts": {EVIL: 1},
        "added": [_FACT],
        "removed": [_FACT],
        "superseded": [{"before": _FACT, "after": _FACT}],
        "facts_cut": False,
        "layers": [{"layer": 1, "delta_norm": 1.0, "energy_from": 1.0, "energy_to": None}],
        "probes": [_PROBE],
        "probes_cut": True,
    },
    "/v1/bisect": {
        "outcome": EVIL,
        "message": EVIL,
        "revision": _REVISION,
        "before": _SAID,
        "after": _SAID,
        "tried": 1,
    },
    "/v1/drift": {"items": [_DRIFT], "next": None},
    "/v1/exports": _EXPORT,
}
_EVENT = {
    "number": 1,
    "kind": "edit",
    "operation": EVIL,
    "edit": EVIL,
    "status": "rejected",
    "at": EVIL,
    "revision": None,
    "reason": EVIL,
}

_FACT_OPTIONS = ("--subject", "s", "--prompt", "{} is", "--target", "t", "--no-wait")
COMMANDS: dict[str, tuple[str, ...]] = {
    "edit": ("edit", *_FACT_OPTIONS),
    "requeue": ("requeue", "e", "--no-wait"),
    "ask": ("ask", "p"),
    "ask --chat": ("ask", "p", "--chat"),
    "log": ("log",),
    "revert": ("revert", "e", "--no-wait"),
    "erase": ("erase", "o", "--no-wait"),
    "withdraw": ("withdraw", "e", "--why", "harm"),
    "snapshot": ("snapshot", "l"),
    "rollback": ("rollback", "0", "--no-wait"),
    "queue show": ("queue", "show"),
    "queue pause": ("queue", "pause"),
    "verify": ("verify",),
    "diff": ("diff", "0"),
    "bisect": ("bisect", "p", "e"),
    "drift": ("drift",),
    "export": ("export", "--format", "merged", "--out", "unused.tar"),
    "events": ("events",),
}
#: These ask no server; what they print is tested below, where it may come from elsewhere.
ON_THEIR_OWN = {
    "bundle",
    "serve",
    "worker",
    "keys",
    "recipe",
    "backup",
    "calibrate",
    "bench",
    "bench-report",
}


class _Hostile(BaseHTTPRequestHandler):
    refusing: ClassVar[bool] = False

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("events") and not self.refusing:
            frames = f"id: 1\ndata: {json.dumps(_EVENT)}\n\nevent: end\ndata: {{}}\n\n"
            self._send(200, "text/event-stream", frames.encode())
            return
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        if self.refusing:
            refusal = {"error": {"message": EVIL, "code": EVIL, "param": EVIL, "type": EVIL}}
            self._send(422, "application/json", json.dumps(refusal).encode())
            return
        answer = _EXPORT if path.startswith("/v1/exports/") else _ANSWERS[path]
        self._send(200, "application/json", json.dumps(answer).encode())

    do_POST = do_GET  # noqa: N815 - the base class names it

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: standard error is what is tested."""


class _Refusing(_Hostile):
    refusing = True


@pytest.fixture(params=[_Hostile, _Refusing], ids=["answers", "refuses"])
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("ERRATA_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


class Terminal:
    """Runs commands as the shell does, and returns what they print."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *arguments: str) -> tuple[str, str]:
        """Standard output and standard error of a command."""
        self._monkeypatch.setattr("sys.argv", ["errata", *arguments])
        with pytest.raises(SystemExit):
            main()
        told = self._capsys.readouterr()
        return told.out, told.err


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("ERRATA_DATA_DIR", str(tmp_path / "data"))
    return Terminal(monkeypatch, capsys)


def _assert_shown(*texts: str) -> None:
    for told in texts:
        assert hidden(told, layout=True) is None, ascii(told)


def test_every_command_is_tried() -> None:
    group: Any = get_command(cli)
    assert set(group.commands) == {name.split()[0] for name in COMMANDS} | ON_THEIR_OWN


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_a_server_says_reaches_the_terminal_as_it_is(
    terminal: Terminal, name: str
) -> None:
    out, err = terminal.run(*COMMANDS[name])
    _assert_shown(out, err)
    assert "x\\x1b[2J" in out + err
    if name.split()[0] != "ask":  # a model's answer has lines of its own
        assert not any(line.startswith("all is well") for line in (out + err).splitlines())


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("name", COMMANDS)
def test_machines_read_exactly_what_a_server_says(terminal: Terminal, name: str) -> None:
    out, err = terminal.run(*COMMANDS[name], "--json")
    _assert_shown(out, err)
    assert out.isascii()
    if out:
        assert EVIL in _texts(json.loads(out))


def _texts(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
    elif isinstance(document, str):
        yield document


@pytest.mark.parametrize("machine", [(), ("--json",)], ids=["people", "machines"])
def test_a_hostile_bundle_is_told_of_in_escapes(
    terminal: Terminal, tmp_path: Path, machine: tuple[str, ...]
) -> None:
    bundle = tmp_path / "bundle.tar"
    with tarfile.open(bundle, "w") as tar:
        for name, data in (("bundle.json", b'{"bundle":1}\n'), ("checkpoint.json", b"{}")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        tar.addfile(tarfile.TarInfo("ledger.jsonl"))
        link = tarfile.TarInfo("\x1b[2J\x1b[Hchain: 12000 entries hold; all is well\x1b[8m\u202e")
        link.type = tarfile.SYMTYPE
        tar.addfile(link)
    _assert_shown(*terminal.run("verify", str(bundle), *machine))


def test_a_bundle_whose_own_name_is_hostile_is_told_of_in_escapes(
    terminal: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "x\x1b[2J.tar"
    path.write_bytes(b"no tar")
    out, err = terminal.run("verify", str(path))
    _assert_shown(out, err)
    assert out + err


@pytest.mark.parametrize("machine", [(), ("--json",)], ids=["people", "machines"])
def test_names_of_keys_are_told_in_escapes(
    terminal: Terminal, tmp_path: Path, machine: tuple[str, ...]
) -> None:
    terminal.run("keys", "create", "--scope", "query", "--name", "plain")
    database = Database(f"sqlite:///{tmp_path}/data/errata.db")
    with database.write() as session:  # by somebody with the database, or before names were checked
        session.execute(text("UPDATE api_keys SET name = :name"), {"name": EVIL})
    database.close()
    out, err = terminal.run("keys", "list", *machine)
    _assert_shown(out, err)
    assert "x\\" in out
    _assert_shown(*terminal.run("keys", "revoke", EVIL, *machine))
    _assert_shown(*terminal.run("keys", "create", "--scope", "query", "--name", EVIL))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--\x1b[2J",),
        ("\x1b[2J",),
        ("diff", EVIL),
        ("log", EVIL),
        ("log", "--limit", EVIL),
        ("verify", EVIL),
        ("verify", "--public-key", EVIL),
        ("keys", "create", "--scope", "query", "--expires", EVIL),
        ("calibrate", "--layers", EVIL),
        ("serve", "--port", EVIL),
        ("worker", "--log-format", EVIL),
    ],
)
def test_wrong_usage_is_told_in_escapes(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    out, err = terminal.run(*arguments)
    _assert_shown(out, err)
    assert out + err
