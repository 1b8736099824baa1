"""Readers of a model that is being edited: every answer is one revision's, and says whose.

Who reads beside others may see other last bits than alone, but no other revision's numbers.
"""

import threading
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.crash.child import Child, started
from tests.crash.conftest import Installation
from tests.support.waiting import wait_until

_READERS = 2
_WAIT_S = 600.0  # edits give way to readers, who never pause here
_LAST_BITS = 1e-4  # of a log-probability; revisions differ by more
_QUESTION = {"prompt": "The capital of Spain is", "max_tokens": 4, "temperature": 0, "logprobs": 1}

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Answer:
    """What a reader was told."""

    revision: int
    text: str
    logprobs: tuple[float, ...]

    def agrees_with(self, other: "Answer") -> bool:
        """Whether both are answers of one revision, but for last bits."""
        return (self.revision, self.text) == (other.revision, other.text) and self.logprobs == (
            pytest.approx(other.logprobs, abs=_LAST_BITS)
        )


@dataclass
class Reader:
    """A client that asks the same question until it is told to stop."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=_WAIT_S) as http:
            while not self.stopped.is_set():
                self.answers.append(_ask(http, "tiny"))


def _ask(http: httpx2.Client, model: str) -> Answer:
    response = http.post("/v1/completions", json=_QUESTION | {"model": model})
    found = response.json()
    assert response.headers["X-Revision"] == str(found["revision"])
    (choice,) = found["choices"]
    return Answer(found["revision"], choice["text"], tuple(choice["logprobs"]["token_logprobs"]))


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize("commits", [20, pytest.param(100, marks=pytest.mark.matrix)])
def test_each_answer_during_commits_is_that_of_the_revision_it_names(
    installation: Installation, commits: int
) -> None:
    settings = installation.settings.model_copy(update={"batch_size": 1})
    with started(settings, installation.log) as child:
        child.await_ready()
        first = child.errata.revision("head").number
        readers = [Reader(child.url) for _ in range(_READERS)]
        threads = [threading.Thread(target=reader.read) for reader in readers]
        for thread in threads:
            thread.start()
        _commit(child, commits)
        for reader, thread in zip(readers, threads, strict=True):
            reader.stopped.set()
            thread.join()
        heard = [answer for reader in readers for answer in reader.answers]
        assert len({answer.revision for answer in heard}) > commits / 4  # it was read on the way
        assert {answer.revision for answer in heard} <= set(range(first, first + commits + 1))
        # Edits do change the answer, by far more than last bits.
        assert len({tuple(round(p, 2) for p in answer.logprobs) for answer in heard}) > 1
        for reader in readers:
            told = [answer.revision for answer in reader.answers]
            assert told == sorted(told)  # nobody is taken back in time
        with httpx2.Client(base_url=child.url, timeout=_WAIT_S) as http:
            alone = {n: _ask(http, f"tiny@{n}") for n in {a.revision for a in heard}}
        assert [a for a in heard if not a.agrees_with(alone[a.revision])] == []


def _commit(child: Child, count: int) -> None:
    head = child.errata.revision("head").number
    for number in range(count):
        child.errata.submit(f"Place {number}", "The capital of {} is", "Rome", force=True)
    wait_until(lambda: child.errata.readiness().revision == head + count, _WAIT_S)
