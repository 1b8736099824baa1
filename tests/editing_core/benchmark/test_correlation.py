import pytest
import torch
from scipy.stats import spearmanr

from editing_core.benchmark.correlation import spearman


def test_ranks_that_agree_but_for_one_swap_by_hand() -> None:
    # Σd² = 2 of n = 4: ρ = 1 − 6·2 / (4·15)
    assert spearman([1, 2, 3, 9], [10, 30, 20, 40]) == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(3))
def test_equal_values_share_their_rank_as_scipy_has_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randint(0, 6, (2, 20), generator=generator).double().tolist()
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_it_is_undefined_for_few_pairs_and_for_a_constant() -> None:
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
