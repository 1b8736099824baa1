"""CounterFact edits over HTTP on the demo model, and all the way back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from pathlib import Path

import pytest

from app.client import Errata
from editing_core.defaults import bundled_text
from tests.acceptance.server import Server, client, running

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(900)]

_RECORDS = Path(__file__).parent / "data" / "counterfact_20.jsonl"
_REFERENCE_CHARS = 6000
_MOST_MEMORY = 2.5e9  # bytes
_EDIT_S = 600.0


@dataclass(frozen=True)
class Record:
    """One record of CounterFact."""

    case_id: int
    subject: str
    prompt: str
    target_new: str
    target_true: str

    @property
    def filled(self) -> str:
        return self.prompt.replace("{}", self.subject)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [Record(**json.loads(line)) for line in _RECORDS.read_text().splitlines()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("counterfact")
    with running(folder / "data", "smollm2-135m", ERRATA_CACHE_DIR=str(cache_dir)) as server:
        yield server


@pytest.fixture
def errata(server: Server) -> Iterator[Errata]:
    with client(server) as errata:
        yield errata


def _reference_perplexity(server: Server) -> float:
    """Of held-out text, from the log-probabilities the API itself echoes."""
    with client(server) as errata:
        answer = errata._http.post(
            "/v1/completions",
            json={
                "prompt": bundled_text("reference")[:_REFERENCE_CHARS],
                "echo": True,
                "logprobs": 0,
                "max_tokens": 0,
                "temperature": 0,
            },
        ).raise_for_status()
    found = answer.json()["choices"][0]["logprobs"]["token_logprobs"][1:]
    return exp(-sum(found) / len(found))


@pytest.mark.parametrize(("method", "count"), [("memit+sphere", 20), ("alphaedit+sphere", 8)])
def test_edits_take_hold_harm_little_and_leave_no_trace(
    server: Server, errata: Errata, records: list[Record], method: str, count: int
) -> None:
    records = records[:count]
    base = errata.revision(0).weights_digest
    perplexity = _reference_perplexity(server)

    submitted = [
        errata.submit(record.subject, record.prompt, record.target_new, method=method, force=True)
        for record in records
    ]
    ended = [errata.wait(edit.id, _EDIT_S) for edit in submitted]
    assert [edit.status for edit in ended] == ["committed"] * len(records)

    wanted = errata.probe([(record.filled, record.target_new) for record in records]).results
    former = errata.probe([(record.filled, record.target_true) for record in records]).results
    better = [
        new.revisions["head"].p > old.revisions["head"].p
        for new, old in zip(wanted, former, strict=True)
    ]
    assert sum(better) >= count - 1
    assert _reference_perplexity(server) < 1.05 * perplexity

    rollback = errata.rollback(0)
    assert errata.wait_operation(rollback.id).status == "committed"
    assert errata.revision("head").weights_digest == base
    assert errata.verify().ok
    assert server.peak_memory_bytes < _MOST_MEMORY


def test_what_the_model_says_already_is_rejected_unless_forced(errata: Errata) -> None:
    head = errata.revision("head").number
    known = errata.submit("France", "The capital of {} is", "Paris")
    ended = errata.wait(known.id)
    assert (ended.status, ended.reason) == ("rejected", "already_true")
    assert errata.revision("head").number == head
    forced = errata.submit("France", "The capital of {} is", "Paris", force=True)
    assert errata.wait(forced.id, _EDIT_S).status == "committed"
