import pytest
import torch
from torch import Tensor

from editing_core.errors import NonFinite
from editing_core.measures.energy import RowGram, hyperspherical_energy
from editing_core.sphere import principal_directions, project


def _weight(out: int = 30, width: int = 70) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    scale = torch.linspace(3, 0.1, width, dtype=torch.float64)
    return torch.randn(out, width, generator=generator, dtype=torch.float64) * scale


def _directions_by_definition(weight: Tensor, eta: float) -> Tensor:
    """The d_in × d_in construction of the paper's code."""
    rows = weight / (weight.norm(dim=1, keepdim=True) + 1e-8)
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    values, vectors = values.flip(0), vectors.flip(1)
    rank = int((values.cumsum(0) / values.sum() <= eta).sum()) + 1
    leading: Tensor = vectors[:, :rank]
    return leading


@pytest.mark.parametrize("eta", [0.1, 0.5, 0.9])
def test_directions_span_what_the_definition_spans(eta: float) -> None:
    weight = _weight()
    found, expected = principal_directions(weight, eta), _directions_by_definition(weight, eta)
    assert found.shape == expected.shape
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=1e-10)


def test_directions_are_orthonormal() -> None:
    found = principal_directions(_weight(), 0.5)
    assert torch.allclose(found.T @ found, torch.eye(found.shape[1], dtype=torch.float64))


def test_all_of_the_mass_is_the_row_space() -> None:
    weight = _weight()
    found = principal_directions(weight, 1.0)
    assert found.shape[1] == weight.shape[0]
    assert torch.allclose(project(weight, found, 1.0), torch.zeros_like(weight), atol=1e-10)


def test_projection_of_a_factor_is_projection_of_the_update() -> None:
    weight = _weight()
    directions = principal_directions(weight, 0.5)
    left, right = torch.randn(30, 2).double(), torch.randn(2, 70).double()
    whole = project(left @ right, directions, 0.8)
    assert torch.allclose(left @ project(right, directions, 0.8), whole, rtol=1e-12)


def test_strength_zero_changes_nothing_and_one_clears_the_directions() -> None:
    directions = principal_directions(_weight(), 0.5)
    right = torch.randn(2, 70).double()
    assert torch.equal(project(right, directions, 0.0), right)
    cleared = project(right, directions, 1.0) @ directions
    assert float(cleared.abs().max()) < 1e-12


def test_a_weight_that_is_not_finite_has_no_directions() -> None:
    weight = _weight()
    weight[3, 4] = torch.inf
    with pytest.raises(NonFinite):
        principal_directions(weight, 0.5)


def test_energy_equals_the_double_loop() -> None:
    weight = _weight(out=7)
    rows = weight / weight.norm(dim=1, keepdim=True)
    total = sum(1 / float((rows[i] - rows[j]).norm()) for i in range(7) for j in range(7) if i != j)
    assert hyperspherical_energy(weight) == pytest.approx(total * 2**0.5 / (7 * 6), rel=1e-12)


def test_energy_does_not_depend_on_how_rows_are_chunked() -> None:
    weight = torch.randn(700, 16, generator=torch.Generator().manual_seed(2)).double()
    rows = weight / weight.norm(dim=1, keepdim=True)
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    expected = float((1 / distances).sum()) * 2**0.5 / (700 * 699)
    assert hyperspherical_energy(weight) == pytest.approx(expected, rel=1e-6)


def test_energy_is_blind_to_rotation_and_to_row_length() -> None:
    weight = _weight()
    rotation, _ = torch.linalg.qr(torch.randn(70, 70).double())
    lengths = torch.rand(30, 1).double() + 0.5
    energy = hyperspherical_energy(weight)
    assert hyperspherical_energy(weight @ rotation) == pytest.approx(energy, rel=1e-10)
    assert hyperspherical_energy(weight * lengths) == pytest.approx(energy, rel=1e-10)


def test_a_gram_matrix_that_followed_many_updates_equals_a_fresh_one() -> None:
    generator = torch.Generator().manual_seed(5)
    weight = _weight()
    gram = RowGram.of(weight)
    for rank in range(1, 31):
        left = torch.randn(rank, 30, generator=generator, dtype=torch.float64) / 10
        right = torch.randn(rank, 70, generator=generator, dtype=torch.float64) / 10
        gram = gram.changed(weight, left, right)
        weight = weight + left.T @ right
    fresh = RowGram.of(weight)
    assert float((gram.products - fresh.products).norm() / fresh.products.norm()) < 1e-12
    assert gram.energy == pytest.approx(fresh.energy, rel=1e-12)
