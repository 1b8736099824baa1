import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editing_core.errors import ForeignSums, GridOverflow, NonFinite
from editing_core.weights import delta as delta_module
from editing_core.weights.delta import Delta, Factors, Weights, keys_of, left_grid, on_grid
from editing_core.weights.digest import weights_digest

_OUT, _IN = 6, 9


def _base(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {layer: torch.randn(_OUT, _IN, generator=generator).to(dtype) for layer in (1, 2)}


def _delta(base: dict[int, Tensor], seed: int, edits: int = 2, scale: float = 0.1) -> Delta:
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        return torch.randn(edits, width, generator=generator, dtype=torch.float64)

    return Delta(
        tuple(f"{seed}-{edit}" for edit in range(edits)),
        {
            layer: on_grid(draw(_OUT) * scale, draw(_IN), draw(_IN), left_grid(weight))
            for layer, weight in base.items()
        },
    )


def _digest(weights: Weights) -> str:
    return weights_digest(weights.materialise())


def test_rounding_to_the_grid_keeps_the_update_to_a_millionth() -> None:
    base = _base()[1]
    left, right = torch.randn(3, _OUT).double(), torch.randn(3, _IN).double()
    factors = on_grid(left, right, right, left_grid(base))
    rounded = factors.left.double().T @ factors.right.double()
    error = (rounded - left.T @ right).norm() / (left.T @ right).norm()
    assert float(error) < 3e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_order_of_changes_leaves_no_trace(dtype: torch.dtype) -> None:
    base = _base(dtype=dtype)
    deltas = [_delta(base, seed) for seed in range(4)]
    digests = set()
    for order in itertools.permutations(deltas):
        one_by_one = Weights(base)
        for delta in order:
            one_by_one = one_by_one.changed(add=[delta])
        digests |= {_digest(one_by_one), _digest(Weights(base).changed(add=order))}
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_undoing_any_edit_gives_the_bits_of_never_having_made_it(dtype: torch.dtype) -> None:
    base = _base(dtype=dtype)
    deltas = [_delta(base, seed) for seed in range(3)]
    all_live = Weights(base).changed(add=deltas)
    for gone in range(3):
        rest = [delta for number, delta in enumerate(deltas) if number != gone]
        undone = all_live.changed(subtract=[deltas[gone]])
        assert _digest(undone) == _digest(Weights(base).changed(add=rest))
    assert _digest(all_live.changed(subtract=deltas)) == weights_digest(base)


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(-12, 2))
@settings(max_examples=60, deadline=None)
def test_any_history_equals_its_live_set(history: list[int], exponent: int) -> None:
    base = _base()
    deltas = [_delta(base, seed, scale=2.0**exponent / 8) for seed in range(8)]
    weights, live = Weights(base), set[int]()
    for number in history:  # naming a live edit again takes it back
        if number in live:
            weights = weights.changed(subtract=[deltas[number]])
        else:
            weights = weights.changed(add=[deltas[number]])
        live ^= {number}
    expected = Weights(base).changed(add=[deltas[number] for number in sorted(live)])
    assert _digest(weights) == _digest(expected)


def test_a_change_is_invisible_to_whoever_holds_the_weights_before_it() -> None:
    base = _base()
    before = Weights(base)
    before.changed(add=[_delta(base, 1)])
    assert _digest(before) == weights_digest(base)


def test_one_edit_of_a_batch_can_be_taken_back_alone() -> None:
    base = _base()
    delta = _delta(base, 1, edits=3)
    weights = Weights(base).changed(add=[delta]).changed(subtract=[delta.select([1])])
    assert _digest(weights) == _digest(Weights(base).changed(add=[delta.select([0, 2])]))


def test_bytes_hold_everything_and_are_the_same_every_time() -> None:
    delta = _delta(_base(), 1)
    read = Delta.from_bytes(delta.to_bytes())
    assert read.edits == delta.edits
    assert read.to_bytes() == delta.to_bytes()
    for layer, factors in delta.layers.items():
        for name in ("left", "right", "keys"):
            assert torch.equal(getattr(read.layers[layer], name), getattr(factors, name))


def test_keys_come_in_the_order_of_the_deltas() -> None:
    first, second = (_delta(_base(), seed) for seed in (1, 2))
    keys = keys_of([first, second])
    assert torch.equal(keys[2], torch.cat([first.layers[2].keys, second.layers[2].keys]))
    assert keys_of([]) == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    good, poisoned = torch.ones(1, 4), torch.tensor([[1.0, bad, 1.0, 1.0]])
    with pytest.raises(NonFinite):
        on_grid(poisoned, good, good, -20)
    with pytest.raises(NonFinite):
        on_grid(good, poisoned, good, -20)


def test_an_update_beyond_the_grid_is_refused_and_names_the_limit() -> None:
    grid = left_grid(torch.ones(2, 2))
    with pytest.raises(GridOverflow, match="factors are kept below 8"):
        on_grid(torch.full((1, 4), 100.0), torch.ones(1, 4), torch.ones(1, 4), grid)


def test_a_sum_that_could_lose_bits_is_refused_and_nothing_changes() -> None:
    base = {0: torch.ones(2, 2)}
    grid = left_grid(base[0])
    left = torch.full((1, 2), 2.0 ** (grid + 23))  # nearly all of the 24 bits
    factors = Factors(left, torch.ones(1, 2), torch.ones(1, 2))
    delta = Delta(("1",), {0: factors})
    weights = Weights(base).changed(add=[delta] * 1023)
    before = _digest(weights)
    with pytest.raises(GridOverflow):
        weights.changed(add=[delta])
    assert _digest(weights) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_read_back_go_on_as_if_they_had_never_been_stored(dtype: torch.dtype) -> None:
    base = _base(dtype=dtype)
    first, second, third = (_delta(base, seed) for seed in range(3))
    kept = Weights(base).changed(add=[first, second])
    read = Weights.from_bytes(base, kept.to_bytes())
    assert _digest(read) == _digest(kept)
    for add, subtract in (([third], []), ([], [first]), ([third], [second]), ([], [first, second])):
        assert _digest(read.changed(add=add, subtract=subtract)) == _digest(
            kept.changed(add=add, subtract=subtract)
        )


def test_stored_sums_tell_nothing_of_the_way_that_led_to_them() -> None:
    base = _base()
    first, second = _delta(base, 1), _delta(base, 2)
    there = Weights(base).changed(add=[first, second])
    around = Weights(base).changed(add=[second]).changed(add=[first, first])
    assert around.changed(subtract=[first]).to_bytes() == there.to_bytes()
    there = Weights.from_bytes(base, there.to_bytes())
    assert there.changed(subtract=[first, second]).to_bytes() == Weights(base).to_bytes()


def test_weights_read_back_refuse_the_same_delta_that_the_stored_ones_did() -> None:
    base = {0: torch.ones(2, 2)}
    left = torch.full((1, 2), 2.0 ** (left_grid(base[0]) + 23))
    delta = Delta(("1",), {0: Factors(left, torch.ones(1, 2), torch.ones(1, 2))})
    read = Weights.from_bytes(base, Weights(base).changed(add=[delta] * 1022).to_bytes())
    full = read.changed(add=[delta])
    with pytest.raises(GridOverflow):
        full.changed(add=[delta])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({1: torch.ones(2, 3)}, r"layers \[1, 2\]; the base has \[1\]"),
        ({1: torch.ones(2, 3), 2: torch.ones(3, 2)}, r"layer 2 has shape \(2, 3\); .* \(3, 2\)"),
        ({1: torch.full((2, 3), 9.0), 2: torch.ones(2, 3)}, "layer 1 has grid"),
    ],
)
def test_sums_of_another_base_are_refused(other: dict[int, Tensor], told: str) -> None:
    stored = Weights({1: torch.ones(2, 3), 2: torch.ones(2, 3)}).to_bytes()
    with pytest.raises(ForeignSums, match=told):
        Weights.from_bytes(other, stored)


def test_blocks_of_factors_add_up_to_the_bits_and_the_bound_of_single_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = _base()
    deltas = [_delta(base, seed, edits=1 + seed % 3) for seed in range(12)]
    one_by_one = Weights(base)
    for delta in deltas:
        one_by_one = one_by_one.changed(add=[delta])
    for size in (1, 4, 5, 512):
        monkeypatch.setattr(delta_module, "_BLOCK", size)
        blocks = Weights(base).changed(add=iter(deltas))
        assert blocks.to_bytes() == one_by_one.to_bytes()
        assert blocks.changed(subtract=deltas).to_bytes() == Weights(base).to_bytes()


def test_a_layer_gets_one_product_for_many_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    base, ranks = _base(), list[int]()
    add_to = Factors.add_to

    def counting(self: Factors, total: Tensor, sign: int) -> None:
        ranks.append(len(self.left))
        add_to(self, total, sign)

    monkeypatch.setattr(Factors, "add_to", counting)
    Weights(base).changed(add=(_delta(base, seed, edits=1) for seed in range(600)))
    assert sorted(ranks) == [88, 88, 512, 512]  # of the two layers
