import pytest
import torch
from torch import Tensor

from editing_core.past_keys import PastKeys

_WIDTH, _RIDGE = 12, 0.7


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _halved(keys: Tensor) -> Tensor:
    """A projection that is not the identity: onto the first half of the entries."""
    kept = torch.zeros_like(keys)
    kept[: _WIDTH // 2] = keys[: _WIDTH // 2]
    return kept


def _dense(raw: Tensor, keys: Tensor) -> Tensor:
    past = _halved(raw.double().T)
    inner = _RIDGE * torch.eye(len(raw), dtype=torch.float64) + past.T @ past
    explained: Tensor = past @ torch.linalg.solve(inner, past.T @ keys)
    return keys - explained


_ALL = _draw(30, _WIDTH, seed=0)
_HISTORIES = {
    "grows": [_ALL[:1], _ALL[:4], _ALL[:11]],
    "outgrows half the key width": [_ALL[:5], _ALL[:7], _ALL[:13], _ALL[:14], _ALL[:30]],
    "shrinks from the end": [_ALL[:10], _ALL[:3]],
    "loses one in the middle": [_ALL[:10], _ALL[[0, 1, 2, 4, 5, 6, 7, 8, 9]]],
    "loses the first": [_ALL[:6], _ALL[1:6]],
    "becomes few again": [_ALL[:20], _ALL[:5], _ALL[:6], _ALL[:12]],
    "shrinks and stays many": [_ALL[:20], _ALL[:25], _ALL[:16], _ALL[:17]],
    "loses one in the middle and stays many": [_ALL[:20], _ALL[[*range(7), *range(8, 20)]]],
    "loses some and gains some, all over": [_ALL[:20], _ALL[[1, 2, 21, *range(5, 19), 22, 23]]],
    "has one key twice and loses it once": [_ALL[[*range(20), 3]], _ALL[:20]],
    "is forgotten": [_ALL[:6], _ALL[:0], _ALL[3:5]],
    "stays": [_ALL[:6], _ALL[:6]],
}


@pytest.mark.parametrize("history", _HISTORIES.values(), ids=_HISTORIES.keys())
def test_a_memory_that_grew_and_shrank_solves_like_a_fresh_one(history: list[Tensor]) -> None:
    memory = PastKeys(_halved, _RIDGE)
    for step, raw in enumerate(history):
        keys = _halved(_draw(_WIDTH, 3, seed=100 + step).double())
        memory.recall(raw)
        found = memory.unexplained(keys)
        assert torch.allclose(found, _dense(raw, keys), rtol=1e-10, atol=1e-12)


def test_only_what_is_new_is_projected() -> None:
    projected: list[int] = []

    def counting(keys: Tensor) -> Tensor:
        projected.append(keys.shape[1])
        return keys

    memory = PastKeys(counting, _RIDGE)
    for count in (4, 6, 9, 12, 12):
        memory.recall(_ALL[:count])
    assert projected == [4, 2, 9, 3]  # all of them once: when they become many


def test_what_comes_and_goes_among_many_is_all_that_is_projected() -> None:
    projected: list[int] = []

    def counting(keys: Tensor) -> Tensor:
        projected.append(keys.shape[1])
        return keys

    memory = PastKeys(counting, _RIDGE)
    without_4 = [*range(4), *range(5, 12)]
    for rows in ([*range(12)], without_4, [*without_4, 12], [*range(13)]):
        memory.recall(_ALL[rows])
    assert projected == [12, 1, 1, 1]


@pytest.mark.parametrize("length", [1, 40])  # ‖k‖² is about 70 and 100,000 times the ridge
def test_rounding_does_not_add_up_while_keys_are_exchanged(length: float) -> None:
    width, every = 48, length * _draw(400, 48, seed=1)
    memory, live = PastKeys(lambda keys: keys, _RIDGE), [*range(40)]
    for new in range(40, 400):
        live.remove(live[new * 7 % len(live)])
        live.append(new)
        memory.recall(every[live])
    past, keys = every[live].double().T, _draw(width, 3, seed=2).double()
    inner = _RIDGE * torch.eye(len(live), dtype=torch.float64) + past.T @ past
    expected = keys - past @ torch.linalg.solve(inner, past.T @ keys)
    assert torch.allclose(memory.unexplained(keys), expected, rtol=1e-9, atol=1e-9)
