import pytest
import torch

from editing_core.measures.collision import key_collisions


def test_a_collision_is_the_largest_cosine_of_a_new_key_and_a_remembered_one() -> None:
    generator = torch.Generator().manual_seed(0)
    new, remembered = (torch.randn(n, 7, generator=generator) for n in (3, 5))
    by_hand = max(
        float(torch.nn.functional.cosine_similarity(a, b, dim=0)) for a in new for b in remembered
    )
    assert key_collisions({4: new}, {4: remembered}) == {4: pytest.approx(by_hand, abs=1e-6)}


def test_the_length_of_a_key_is_no_matter_and_opposite_keys_do_not_collide() -> None:
    key = torch.tensor([[3.0, 4.0]])
    assert key_collisions({1: key}, {1: 100 * key})[1] == pytest.approx(1.0)
    assert key_collisions({1: key}, {1: -key})[1] == pytest.approx(-1.0)


def test_a_key_without_length_is_near_none() -> None:
    assert key_collisions({1: torch.zeros(1, 2)}, {1: torch.ones(1, 2)}) == {1: 0.0}


def test_layers_without_keys_of_both_kinds_are_left_out() -> None:
    key, none = torch.ones(1, 2), torch.zeros(0, 2)
    assert key_collisions({1: key, 2: key, 3: none}, {2: none, 3: key}) == {}
