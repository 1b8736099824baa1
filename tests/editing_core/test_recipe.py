"""The digest of a recipe: equal for recipes in use, whatever options methods are given later."""

import json
from dataclasses import replace

import pytest

from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, SphereSettings, ValueSettings

_RECIPE = Recipe("m", "s", (4, 5), (("{}",), ("So. {}", "Hence. {}")))
# As written before methods had settings of their own.
_WRITTEN = (
    '{"alpha":0.8,"alphaedit_alpha":0.5,"alphaedit_l2":1.0,"alphaedit_tau":0.02,'
    '"contexts":[["{}"],["So. {}","Hence. {}"]],"emmet_ridge":0.1,"eta":0.5,"every_k":10,'
    '"finetune":{"largest_change":null,"learning_rate":0.0005,"steps":25,"stop_loss":0.01},'
    '"layers":[4,5],"memit_lambda":1500.0,"model_digest":"m","principal_source":"original",'
    '"statistics_digest":"s","value":{"clamp":4.0,"kl":0.0625,"learning_rate":0.5,"steps":25,'
    '"stop_loss":0.05,"weight_decay":0.001}}'
)


def test_a_recipe_is_written_as_it_always_was() -> None:
    assert _RECIPE.to_json() == _WRITTEN
    assert Recipe.from_json(_WRITTEN) == _RECIPE


@pytest.mark.parametrize(
    ("changed", "name", "written"),
    [
        (replace(_RECIPE, alphaedit=AlphaEditSettings(tau=3.0)), "alphaedit_tau", 3.0),
        (replace(_RECIPE, sphere=SphereSettings(alpha=0.7)), "alpha", 0.7),
        (
            replace(_RECIPE, sphere=SphereSettings(principal_source="every_k")),
            "principal_source",
            "every_k",
        ),
    ],
)
def test_an_option_is_written_under_its_old_name(
    changed: Recipe, name: str, written: object
) -> None:
    record, before = json.loads(changed.to_json()), json.loads(_WRITTEN)
    assert record == before | {name: written}
    assert Recipe.from_json(changed.to_json()) == changed


def test_an_option_younger_than_recipes_in_use_is_written_only_where_it_is_set() -> None:
    patient = replace(_RECIPE, value=ValueSettings(patience=2))
    assert "patience" not in _RECIPE.to_json()
    assert json.loads(patient.to_json())["value"]["patience"] == 2
    assert Recipe.from_json(patient.to_json()) == patient
    assert patient.digest != _RECIPE.digest
