from collections.abc import Iterator

import pytest
import torch

from app.client import Refused
from editing_core.measures.energy import hyperspherical_energy
from tests.support.looking_back import (
    ERASED,
    HEAD,
    REVERTED,
    ROLLED_BACK,
    SUPERSEDED,
    Lived,
    lived,
)
from tests.support.postgres import new_schema
from tests.support.tiny import build_tiny_model

_PROMPTS = [f"The capital of Place {number} is" for number in range(5)] + ["Rome", "Therefore,"]
_TOKENS = 16  # what a bisection asks for at least


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("lived")
    url = f"sqlite:///{folder / 'errata.db'}"
    if request.param == "postgres":
        url = new_schema(request.getfixturevalue("postgres_server"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with lived(folder, build_tiny_model(folder / "tiny"), url) as found:
        yield found
    torch.set_num_threads(threads)


@pytest.mark.parametrize("prompt", _PROMPTS[:3])
def test_a_comparison_says_what_completions_of_each_revision_say(told: Lived, prompt: str) -> None:
    asked: list[int | str] = ["head", 0, SUPERSEDED]
    found = told.errata.compare(prompt, asked, max_tokens=9)
    assert list(found.revisions) == ["head", "0", "3"]
    for name, said in found.revisions.items():
        number = HEAD if name == "head" else int(name)
        alone = told.errata.complete(prompt, revision=number, max_tokens=9)
        assert (said.revision, said.text) == (number, alone.choices[0].text)


def test_a_comparison_with_a_revision_that_is_not_there_is_refused(told: Lived) -> None:
    with pytest.raises(Refused) as refused:
        told.errata.compare("Rome", [0, 99])
    assert refused.value.status == 404


@pytest.mark.parametrize("revision", [0, 1, ROLLED_BACK, "head"])
def test_a_revision_does_not_differ_from_itself(told: Lived, revision: int | str) -> None:
    found = told.errata.diff(revision, revision)
    assert found.same_weights
    assert found.counts == {"added": 0, "removed": 0, "superseded": 0, "resolved": 0}
    assert [layer.delta_norm for layer in found.layers] == [0.0] * len(found.layers)
    assert all(layer.energy_from == layer.energy_to for layer in found.layers)
    assert (found.probes, found.facts_cut, found.probes_cut) == ([], False, False)


@pytest.mark.parametrize(("first", "last"), [(0, HEAD), (1, 4), (SUPERSEDED, REVERTED), (HEAD, 2)])
def test_norms_from_factors_are_those_of_the_matrices(told: Lived, first: int, last: int) -> None:
    found = told.errata.diff(first, last)
    before, after = told.sums(first), told.sums(last)
    assert len(found.layers) == len(told.matrices(0))
    for row in found.layers:
        zero = torch.zeros_like(told.matrices(0)[row.layer], dtype=torch.float64)
        dense = after.get(row.layer, zero) - before.get(row.layer, zero)
        assert row.delta_norm == pytest.approx(float(dense.norm()), rel=1e-9)
        served = told.matrices(last)[row.layer] - told.matrices(first)[row.layer]
        assert row.delta_norm == pytest.approx(float(served.norm()), rel=1e-3)


def test_the_energies_of_a_difference_are_those_of_both_revisions(told: Lived) -> None:
    for row in told.errata.diff(0, HEAD).layers:
        for revision, energy in ((0, row.energy_from), (HEAD, row.energy_to)):
            direct = hyperspherical_energy(told.matrices(revision)[row.layer])
            assert energy == pytest.approx(direct, rel=1e-6)


def test_a_fact_that_another_edit_took_over_is_superseded(told: Lived) -> None:
    found = told.errata.diff(SUPERSEDED - 1, SUPERSEDED)
    assert (found.added, found.removed) == ([], [])
    (pair,) = found.superseded
    assert (pair.before.edit, pair.after.edit) == (told.edits[0], told.edits[2])
    assert (pair.before.target, pair.after.target) == ("Rome", "Paris")


def test_a_reverted_fact_is_removed_one_way_and_added_the_other(told: Lived) -> None:
    there = told.errata.diff(REVERTED - 1, REVERTED)
    back = told.errata.diff(REVERTED, REVERTED - 1)
    assert [fact.edit for fact in there.removed] == [told.edits[1]]
    assert [fact.edit for fact in back.added] == [told.edits[1]]
    assert (there.added, back.removed) == ([], [])


def test_a_rollback_has_the_weights_it_went_back_to(told: Lived) -> None:
    found = told.errata.diff(4, ROLLED_BACK)
    assert found.same_weights
    assert (found.added, found.removed, found.superseded) == ([], [], [])


def test_the_edits_that_differ_are_probed_under_both_revisions(told: Lived) -> None:
    found = told.errata.diff(0, 2)
    assert [probe.edit for probe in found.probes] == [told.edits[1], told.edits[0]]
    assert not found.probes_cut
    for probe in found.probes:
        alone = told.errata.probe([(probe.prompt, probe.target)], [0, 2]).results[0].revisions
        assert probe.from_.p == pytest.approx(alone["0"].p, rel=1e-4)
        assert probe.to.p == pytest.approx(alone["2"].p, rel=1e-4)
        assert probe.to.p > probe.from_.p


def test_a_difference_says_when_it_is_cut(told: Lived) -> None:
    found = told.http.get("/v1/diff?from=0&to=head&facts=1&probes=1").json()
    assert found["counts"]["added"] == 4
    assert len(found["added"]) == 1
    assert found["facts_cut"]
    assert len(found["probes"]) == 1
    assert found["probes_cut"]


def test_what_was_erased_is_counted_but_neither_told_nor_probed(told: Lived) -> None:
    found = told.errata.diff(ERASED - 1, ERASED)
    (fact,) = found.added
    assert (fact.edit, fact.subject, fact.prompt, fact.target) == (told.edits[4], None, None, None)
    assert (found.probes, found.probes_cut) == ([], True)
    assert all(layer.delta_norm > 0 for layer in found.layers)


def test_a_bisection_finds_what_a_linear_search_finds(told: Lived) -> None:
    searched = 0
    for prompt in _PROMPTS:
        texts = [
            told.errata.complete(prompt, revision=number, max_tokens=_TOKENS).choices[0].text
            for number in range(HEAD + 1)
        ]
        expect = texts[0].lstrip()[:6]
        says = [text.lstrip().startswith(expect) for text in texts]
        lost = says.index(False) if False in says else None
        if not expect or lost is None or any(says[lost:]):
            continue  # the answer was never lost, or more than once
        searched += 1
        found = told.errata.bisect(prompt, expect)
        assert found.outcome == "found"
        assert found.revision is not None
        assert found.revision == told.errata.revision(lost)
        assert found.before is not None
        assert found.after is not None
        assert (found.before.revision, found.before.text) == (lost - 1, texts[lost - 1])
        assert (found.after.revision, found.after.text) == (lost, texts[lost])
        assert found.tried <= 2 + 3  # both ends, and log2 of the eight steps between
    assert searched


def test_a_bisection_says_when_the_first_revision_does_not_answer_so(told: Lived) -> None:
    found = told.errata.bisect("Rome", "no model says this")
    assert (found.outcome, found.tried, found.revision) == ("not_at_start", 1, None)
    assert found.after is not None
    assert (found.before, found.after.revision) == (None, 0)


def test_a_bisection_says_when_the_last_revision_still_answers_so(told: Lived) -> None:
    text = told.errata.complete("Rome", revision=4, max_tokens=4).choices[0].text
    found = told.errata.bisect("Rome", text, first=4, last=ROLLED_BACK)
    assert (found.outcome, found.tried, found.revision) == ("still_at_end", 2, None)
    assert found.before is not None
    assert (found.before.revision, found.after) == (ROLLED_BACK, None)


def test_a_bisection_is_paid_for_with_all_its_tries_before_the_first(told: Lived) -> None:
    with pytest.raises(Refused) as refused:
        told.errata.bisect("あ" * 100_000, "x")  # one try of it would fit
    assert (refused.value.status, refused.value.code) == (422, "over_budget")


def test_drift_tells_energy_and_norm_of_every_revision(told: Lived) -> None:
    rows = list(told.errata.drift())
    assert [row.revision for row in rows] == list(range(HEAD + 1))
    for row in rows:
        matrices = told.matrices(row.revision)
        assert [found.layer for found in row.layers] == sorted(matrices)
        for found in row.layers:
            direct = hyperspherical_energy(matrices[found.layer])
            assert found.energy == pytest.approx(direct, rel=1e-6)
            if row.revision:
                step = matrices[found.layer] - told.matrices(row.revision - 1)[found.layer]
                assert found.delta_norm == pytest.approx(float(step.norm()), rel=1e-3)


def test_drift_tells_perplexity_and_collisions_where_there_are_any(told: Lived) -> None:
    rows = list(told.errata.drift())
    assert all(row.perplexity is not None and row.perplexity > 1 for row in rows)
    assert rows[ROLLED_BACK].perplexity == pytest.approx(rows[4].perplexity, rel=1e-4)
    collide = [[found.key_collision is not None for found in row.layers] for row in rows]
    with_keys = {2, SUPERSEDED, 4, ERASED, HEAD}  # new keys on top of remembered ones
    assert {number for number, found in enumerate(collide) if all(found)} == with_keys
    assert not any(any(collide[number]) for number in {*range(HEAD + 1)} - with_keys)


def test_drift_comes_in_pages_and_parts(told: Lived) -> None:
    everything = list(told.errata.drift())
    assert list(told.errata.drift(page=2)) == everything
    assert list(told.errata.drift(3, 5)) == everything[3:6]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/diff?from=99", "from"),
        ("/v1/diff?to=99", "to"),
        ("/v1/diff?from=-1", "from"),
        ("/v1/diff?from=one", "from"),
        ("/v1/diff?from=99999999999999", "from"),
        ("/v1/drift?from=5&to=4", "from"),
        ("/v1/drift?limit=0", "limit"),
        ("/v1/drift?from=99", "from"),
    ],
)
def test_revisions_that_make_no_sense_are_refused_by_name(
    told: Lived, path: str, field: str
) -> None:
    answer = told.http.get(path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expect": "  "}, "expect"),
        ({"expect": ""}, "expect"),
        ({"from": 5, "to": 4}, "from"),
        ({"to": 99}, "to"),
        ({"from": "tail"}, "from"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_a_bisection_that_makes_no_sense_is_refused_by_name(
    told: Lived, change: dict[str, object], field: str
) -> None:
    answer = told.http.post("/v1/bisect", json={"prompt": "Rome", "expect": "is"} | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)
