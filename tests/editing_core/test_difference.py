from collections.abc import Sequence
from math import sqrt

import pytest
import torch
from torch import Tensor

from editing_core.measures.difference import Difference
from editing_core.weights.delta import Delta, Dense, Factors, Weights

D_OUT, D_IN = 6, 9


def _draw(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # On the grid that factors are kept on, so that weights take them.
    return torch.randint(-(2**10), 2**10, (rows, width), generator=generator) / 2**10


def _factors(count: int, seed: int) -> Delta:
    left, right = _draw(count, D_OUT, seed) / 8, _draw(count, D_IN, seed + 100)
    part = Factors(left, right, right)
    return Delta(tuple(f"{seed}-{i}" for i in range(count)), {3: part, 5: part.select([0])})


def _dense(added: Sequence[Delta], removed: Sequence[Delta], layer: int) -> float:
    total = torch.zeros(D_OUT, D_IN, dtype=torch.float64)
    for deltas, sign in ((added, 1), (removed, -1)):
        for delta in deltas:
            total += sign * delta.layers[layer].update()
    return float(total.norm())


@pytest.mark.parametrize("count", [1, 4, 600])  # 600 is more than one block
def test_the_norm_of_few_and_of_many_factors_is_that_of_their_matrix(count: int) -> None:
    added = [_factors(1, seed) for seed in range(count)]
    removed = [_factors(2, 50)]
    difference = Difference()
    for delta in added:
        difference.add(delta)
    difference.subtract(removed[0])
    norms = difference.norms()
    assert list(norms) == [3, 5]
    for layer, norm in norms.items():
        assert norm == pytest.approx(_dense(added, removed, layer), rel=1e-12)


def test_a_block_of_factors_from_one_artefact_counts_whole() -> None:
    part = _factors(700, 1)
    difference = Difference()
    difference.add(part)
    assert difference.norms()[3] == pytest.approx(_dense([part], [], 3), rel=1e-12)


def test_changes_without_factors_count_too() -> None:
    delta, dense = _factors(2, 1), Dense(_draw(D_OUT, D_IN, 7), _draw(1, D_IN, 8))
    difference = Difference()
    difference.subtract(Delta(("d",), {3: dense}))
    difference.add(delta)
    expected = (delta.layers[3].update() - dense.update()).norm()
    assert difference.norms()[3] == pytest.approx(float(expected), rel=1e-12)


def test_what_is_added_and_taken_away_leaves_nothing() -> None:
    difference = Difference()
    difference.add(_factors(2, 1))
    difference.subtract(_factors(2, 1))
    scale = sqrt(float((_factors(2, 1).layers[3].update() ** 2).sum()))
    assert difference.norms()[3] <= 1e-7 * scale


def test_no_delta_has_no_norms() -> None:
    assert Difference().norms() == {}


def test_sums_are_as_far_apart_as_the_factors_between_them() -> None:
    base = {3: torch.randn(D_OUT, D_IN), 5: torch.randn(D_OUT, D_IN)}
    first, second = _factors(2, 1), _factors(1, 2)
    one, other = Weights(base).changed(add=[first]), Weights(base).changed(add=[second])
    difference = Difference()
    difference.add(second)
    difference.subtract(first)
    assert other.distances(one) == pytest.approx(difference.norms(), rel=1e-12)
    assert one.distances(one) == {3: 0.0, 5: 0.0}
