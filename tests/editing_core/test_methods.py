from dataclasses import replace

import pytest
import torch
from torch import Tensor

from editing_core.errors import KeyOutsideNullSpace, SingularStatistics, UnknownMethod
from editing_core.methods import METHOD_NAMES, LayerProblem, Sphere, method_named
from editing_core.methods.alphaedit import AlphaEdit
from editing_core.methods.emmet import Emmet
from editing_core.methods.memit import LayerUpdate, Memit, MemitSequential
from editing_core.methods.prune import Prune
from editing_core.methods.rect import Rect
from editing_core.methods.rome import Rome
from editing_core.recipe import Recipe
from editing_core.settings import AlphaEditSettings, EmmetSettings, MemitSettings
from editing_core.sphere import principal_directions, project
from editing_core.statistics import SecondMoment

_WIDTH, _OUT, _TAU = 40, 12, 0.3
_RECIPE = Recipe(
    model_digest="",
    statistics_digest="",
    layers=(0,),
    contexts=(("{}",),),
    memit=MemitSettings(weight=7.0),
    alphaedit=AlphaEditSettings(tau=_TAU, l2=2.5),
)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _moment() -> tuple[Tensor, SecondMoment]:
    scale = torch.logspace(-1.5, 0.3, _WIDTH, dtype=torch.float64)
    samples = _draw(4 * _WIDTH, _WIDTH) * scale
    matrix = samples.T @ samples / len(samples)
    return matrix, SecondMoment.of(matrix)


def _problem(keys: Tensor, past: Tensor | None = None) -> tuple[Tensor, LayerProblem]:
    matrix, moment = _moment()
    none = torch.zeros(_WIDTH, 0, dtype=torch.float64)
    return matrix, LayerProblem(keys, keys, none if past is None else past, moment)


def _null_space(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    kept = vectors[:, values < _TAU]
    projection: Tensor = kept @ kept.T
    return projection


def test_memit_equals_its_dense_solve() -> None:
    keys, residual = _draw(_WIDTH, 5), _draw(_OUT, 5, seed=1)
    matrix, problem = _problem(keys)
    dense = residual @ keys.T @ torch.linalg.inv(_RECIPE.memit.weight * matrix + keys @ keys.T)
    found = residual @ Memit().adjusted_keys(problem, _RECIPE)
    assert torch.allclose(found, dense, rtol=1e-10, atol=1e-13)


def test_alphaedit_equals_the_published_form_over_thirty_batches() -> None:
    past = torch.zeros(_WIDTH, 0, dtype=torch.float64)
    for batch in range(30):
        keys, residual = _draw(_WIDTH, 3, seed=batch), _draw(_OUT, 3, seed=100 + batch)
        matrix, problem = _problem(keys, past)
        p = _null_space(matrix)
        inner = p @ (keys @ keys.T + past @ past.T) + _RECIPE.alphaedit.l2 * torch.eye(_WIDTH)
        published = torch.linalg.solve(inner, p @ keys @ residual.T).T
        found = residual @ AlphaEdit().adjusted_keys(problem, _RECIPE)
        assert torch.allclose(found, published, rtol=1e-10, atol=1e-12)
        past = torch.cat([past, keys], dim=1)


def test_an_alphaedit_update_stays_in_the_null_space_and_sphere_takes_it_out() -> None:
    keys, residual = _draw(_WIDTH, 4), _draw(_OUT, 4, seed=1)
    matrix, problem = _problem(keys)
    right = AlphaEdit().adjusted_keys(problem, _RECIPE)
    delta, p = residual @ right, _null_space(matrix)
    assert torch.allclose(delta @ p, delta, atol=1e-12)
    directions = principal_directions(_draw(_OUT, _WIDTH, seed=2), 0.5)
    projected = residual @ project(right, directions, 0.5)
    outside = projected - projected @ p
    assert float(outside.norm() / projected.norm()) > 1e-3


@pytest.mark.parametrize("copies", [1, 2])
def test_a_key_that_is_remembered_halves_its_own_next_edit(copies: int) -> None:
    keys, ridge = _draw(_WIDTH, 1), 1e-6
    recipe = replace(_RECIPE, alphaedit=AlphaEditSettings(_TAU, ridge))

    def achieved(past: Tensor | None) -> float:
        _, problem = _problem(keys, past)
        return float(AlphaEdit().adjusted_keys(problem, recipe) @ keys)

    assert achieved(None) == pytest.approx(1.0, rel=1e-4)
    assert achieved(keys.repeat(1, copies)) == pytest.approx(1 / (copies + 1), rel=1e-4)


def test_a_key_that_the_null_space_does_not_hold_is_refused() -> None:
    matrix, _ = _moment()
    _, vectors = torch.linalg.eigh(matrix)
    _, problem = _problem(vectors[:, -1:])
    with pytest.raises(KeyOutsideNullSpace, match=r"keeps 0\.0%"):
        AlphaEdit().adjusted_keys(problem, _RECIPE)


def test_singular_statistics_are_refused() -> None:
    matrix = torch.diag(torch.tensor([0.0] + [1.0] * (_WIDTH - 1), dtype=torch.float64))
    _, problem = _problem(_draw(_WIDTH, 1))
    problem = replace(problem, moment=SecondMoment.of(matrix))
    with pytest.raises(SingularStatistics, match="singular"):
        Memit().adjusted_keys(problem, _RECIPE)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_statistics_without_a_decomposition_are_refused(bad: float) -> None:
    with pytest.raises(SingularStatistics):
        SecondMoment.of(torch.full((3, 3), bad))


def test_every_rule_has_a_name_with_and_without_sphere() -> None:
    rules = {name for name in METHOD_NAMES if "+" not in name}
    assert rules == {"ft", "rome", "memit", "memit-seq", "rect", "prune", "alphaedit", "emmet"}
    for rule in rules:
        plain, worn = method_named(rule), method_named(rule + "+sphere")
        assert isinstance(worn, Sphere)
        assert type(worn.method) is type(plain)
        assert worn.sphere_alpha(_RECIPE) == (0.5 if rule == "alphaedit" else 0.8)


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownMethod, match=r"choose one of ft, ft\+sphere"):
        method_named("nonsense")


def test_memit_seq_equals_its_dense_solve_over_several_batches() -> None:
    past = torch.zeros(_WIDTH, 0, dtype=torch.float64)
    for batch in range(5):
        keys, residual = _draw(_WIDTH, 3, seed=batch), _draw(_OUT, 3, seed=100 + batch)
        matrix, problem = _problem(keys, past)
        inner = _RECIPE.memit.weight * matrix + past @ past.T + keys @ keys.T
        dense = residual @ keys.T @ torch.linalg.inv(inner)
        found = residual @ MemitSequential().adjusted_keys(problem, _RECIPE)
        assert torch.allclose(found, dense, rtol=1e-9, atol=1e-12)
        past = torch.cat([past, keys], dim=1)


def test_memit_seq_without_a_past_is_memit() -> None:
    _, problem = _problem(_draw(_WIDTH, 3))
    expected = Memit().adjusted_keys(problem, _RECIPE)
    assert torch.allclose(MemitSequential().adjusted_keys(problem, _RECIPE), expected, rtol=1e-12)


def test_emmet_meets_its_constraint_and_is_rome_for_one_edit() -> None:
    keys, recipe = _draw(_WIDTH, 4), replace(_RECIPE, emmet=EmmetSettings(ridge=0.0))
    matrix, problem = _problem(keys)
    rows = Emmet().adjusted_keys(problem, recipe)
    assert torch.allclose(rows @ keys, torch.eye(4, dtype=torch.float64), atol=1e-9)
    _, single = _problem(keys[:, :1])
    direction = torch.linalg.solve(matrix, keys[:, :1])
    rome = direction.T / (direction * keys[:, :1]).sum()
    assert torch.allclose(Emmet().adjusted_keys(single, recipe), rome, rtol=1e-9)
    assert torch.allclose(Rome().adjusted_keys(single, recipe), rome, rtol=1e-9)


def test_rome_meets_the_bare_prompts_key() -> None:
    _, problem = _problem(_draw(_WIDTH, 1))
    problem = replace(problem, bare_keys=_draw(_WIDTH, 1, seed=9))
    assert float(Rome().adjusted_keys(problem, _RECIPE) @ problem.bare_keys) == pytest.approx(1)


def test_rect_keeps_the_entries_that_change_their_weight_most() -> None:
    update, weight = _draw(_OUT, _WIDTH), _draw(_OUT, _WIDTH, seed=1)
    kept = Rect().reshape(LayerUpdate(update, weight, weight))
    share = (update / weight).abs()
    assert int((kept != 0).sum()) == int(0.4 * update.numel())
    assert float(share[kept != 0].min()) > float(share[kept == 0].max())
    assert torch.equal(kept[kept != 0], update[kept != 0])


def test_prune_bounds_the_accumulated_change_by_the_original_weight() -> None:
    original, before = _draw(_OUT, _WIDTH, seed=1), _draw(_OUT, _WIDTH, seed=2) * 0.1
    update = _draw(_OUT, 1, seed=3) @ _draw(1, _WIDTH, seed=4)
    largest = float(torch.linalg.matrix_norm(original, ord=2))
    assert float(torch.linalg.matrix_norm(before + update, ord=2)) > largest
    found = Prune().reshape(LayerUpdate(update, original + before, original))
    total = torch.linalg.svdvals(before + found)
    expected = torch.linalg.svdvals(before + update)
    damped = (expected / largest).log() + largest
    expected = torch.where(expected > largest, damped, expected)
    assert torch.allclose(total, expected.sort(descending=True).values, rtol=1e-9)


def test_prune_leaves_a_small_change_alone() -> None:
    original, update = _draw(_OUT, _WIDTH, seed=1), _draw(_OUT, _WIDTH, seed=2) * 1e-3
    found = Prune().reshape(LayerUpdate(update, original, original))
    assert torch.allclose(found, update, atol=1e-12)


def test_solving_in_the_projected_space_equals_its_dense_form() -> None:
    keys, past, residual = _draw(_WIDTH, 4), _draw(_WIDTH, 6, seed=5), _draw(_OUT, 4, seed=1)
    matrix, problem = _problem(keys, past)
    directions = principal_directions(_draw(_OUT, _WIDTH, seed=2), 0.5)
    sphere = torch.eye(_WIDTH, dtype=torch.float64) - 0.5 * directions @ directions.T
    s = _null_space(matrix) @ sphere
    inside, before = s.T @ keys, s.T @ past
    inner = inside @ inside.T + before @ before.T + _RECIPE.alphaedit.l2 * torch.eye(_WIDTH)
    dense = residual @ inside.T @ torch.linalg.inv(inner) @ s.T
    problem = replace(problem, sphere=lambda k: sphere @ k)
    found = residual @ AlphaEdit().adjusted_keys(problem, _RECIPE)
    assert torch.allclose(found, dense, rtol=1e-9, atol=1e-12)
    p = _null_space(matrix)
    assert torch.allclose(found @ p, found, atol=1e-12)  # and it stays in the null space


@pytest.mark.parametrize("undone", [0, 4, 9])
def test_taking_one_edit_out_of_a_batch_undoes_it_and_leaves_the_others(undone: int) -> None:
    width, batch = 512, 10
    keys, residual = _draw(width, batch), _draw(_OUT, batch, seed=1)
    moment = SecondMoment.of(1e-3 * torch.eye(width))
    problem = LayerProblem(keys, keys, keys[:, :0], moment)
    rows = AlphaEdit().adjusted_keys(
        problem, replace(_RECIPE, alphaedit=AlphaEditSettings(_TAU, 10.0))
    )
    whole = residual @ rows
    rest = whole - torch.outer(residual[:, undone], rows[undone])
    effect, left = (whole @ keys).norm(dim=0), (rest @ keys).norm(dim=0)
    disturbed = ((rest - whole) @ keys).norm(dim=0) / effect
    others = [edit for edit in range(batch) if edit != undone]
    assert float(left[undone] / effect[undone]) < 0.1
    assert float(disturbed[others].max()) < 0.1
