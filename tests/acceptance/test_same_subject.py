"""Several facts of one subject: what holds them all, and what happens without it."""

from pathlib import Path

import pytest

from app.database.tables.operations import OperationStatus
from app.deps.operation import OperationResource
from app.edits.revert_service import Wanted
from app.facts.gate_limits import Limits
from app.operations import repository as operations
from app.settings import Settings
from editing_core.defaults import bundled_text, default_layers, default_recipe, prepare_statistics
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.measures.probe import Score, score
from editing_core.model.loading import LoadedModel
from editing_core.weights.delta import Weights
from tests.fuzz.site import Prepared, Site

_METHOD = "alphaedit+sphere"
_NAME = "Danielle Darrieux"
_FACTS = [
    Edit("tongue", _NAME, "The mother tongue of {} is", "English"),
    Edit("birth", _NAME, "The birthplace of {} is the city of", "Oslo"),
]
# All of these begin with the subject, so they have one key in every context.
_ONE_KEY = [
    Edit("birth", _NAME, "{} was born in the city of", "Oslo"),
    Edit("citizen", _NAME, "{} is a citizen of", "Brazil"),
    Edit("work", _NAME, "{} works as a", "carpenter"),
]


@pytest.fixture(scope="module")
def prepared(demo_model: LoadedModel, cache_dir: Path) -> Prepared:
    text = bundled_text("statistics")
    statistics = prepare_statistics(demo_model, text=text, cache_dir=cache_dir)
    recipe = default_recipe(demo_model, statistics, chat=False)  # whose contexts blur the effect
    return demo_model, statistics, recipe


@pytest.fixture(scope="module")
def editor(prepared: Prepared) -> Editor:
    model, statistics, recipe = prepared
    return Editor(model, recipe, statistics)


@pytest.fixture
def base(demo_model: LoadedModel) -> Weights:
    layers, weight_of = default_layers(demo_model), demo_model.architecture.weight_of
    return Weights({layer: weight_of(demo_model.model, layer) for layer in layers})


def _scores(model: LoadedModel, weights: Weights, facts: list[Edit]) -> list[Score]:
    view = model.architecture.view_with(model.model, weights.materialise())
    return score(view, model.tokenizer, [(fact.filled, fact.target) for fact in facts])


def test_facts_with_one_key_hold_together_when_they_share_a_value(
    demo_model: LoadedModel, editor: Editor, base: Weights
) -> None:
    joint = editor.solve(demo_model.model, _ONE_KEY, method=_METHOD).delta
    assert all(s.match for s in _scores(demo_model, base.changed(add=[joint]), _ONE_KEY))


def test_facts_with_one_key_average_out_when_each_has_a_value_of_its_own(
    demo_model: LoadedModel, editor: Editor, base: Weights
) -> None:
    # The same prompts and the same last token, by names that do not look like one subject.
    disguised = [
        Edit(fact.id, _NAME[cut:], fact.template.replace("{}", _NAME[:cut] + "{}"), fact.target)
        for fact, cut in zip(_ONE_KEY, (0, 4, 9), strict=True)
    ]
    assert [fact.filled for fact in disguised] == [fact.filled for fact in _ONE_KEY]
    apart = editor.solve(demo_model.model, disguised, method=_METHOD).delta
    assert not all(s.match for s in _scores(demo_model, base.changed(add=[apart]), _ONE_KEY))


def test_a_second_fact_leaves_the_first_as_it_was_only_if_solved_beside_it(
    demo_model: LoadedModel, editor: Editor, base: Weights
) -> None:
    first, second = _FACTS
    found = editor.solve(demo_model.model, [first], method=_METHOD).delta
    weights = base.changed(add=[found])
    (once,) = _scores(demo_model, weights, [first])
    view = demo_model.architecture.view_with(demo_model.model, weights.materialise())
    beside = editor.solve(view, [second], method=_METHOD, beside=[first]).delta
    keys = {layer: part.keys for layer, part in found.layers.items()}
    alone = editor.solve(view, [second], method=_METHOD, past_keys=keys).delta
    kept, new = _scores(demo_model, weights.changed(add=[beside]), _FACTS)
    faded, also_new = _scores(demo_model, weights.changed(add=[alone]), _FACTS)
    assert new.match
    assert also_new.match
    assert kept.p > once.p - 0.05
    assert faded.p < once.p - 0.2


def test_undoing_one_of_two_facts_leaves_the_other_said(
    demo_model: LoadedModel, prepared: Prepared, tmp_path: Path
) -> None:
    site = Site(tmp_path, prepared, limits=Limits.of(Settings()))
    undone, kept = (
        site.submit(fact.subject, fact.template, fact.target, _METHOD) for fact in _FACTS
    )
    site.turn()
    revert = site.revert(undone, Wanted())
    site.turn()
    with site.database.read() as session:
        found = OperationResource.of(operations.get(session, revert))
    assert (found.status, list(site.head_live)) == (OperationStatus.COMMITTED, [kept])
    assert found.report is not None
    (sibling,) = found.report.siblings
    assert sibling.after is not None
    assert found.report.undone.after is not None
    assert (sibling.edit, sibling.after.match) == (kept, True)
    assert not found.report.undone.after.match
    weights = Weights(site.base).changed(add=[*map(site.delta, site.placements(2).values())])
    gone, said = _scores(demo_model, weights, _FACTS)
    assert (gone.match, said.match) == (False, True)
    site.close()
