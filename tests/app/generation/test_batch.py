from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from app.generation.batch import Batch
from app.generation.prefill import Prefill
from editing_core.model.opening import open_model
from tests.support.tiny import build_tiny_model

_LONG, _SHORT = list(range(40, 70)), [50, 51]


def read(model: PreTrainedModel, tokens: list[int]) -> Prefill:
    prefill = Prefill(model, tokens)
    while not prefill.done:
        prefill.read_chunk()
    return prefill


@torch.no_grad()
def plain(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    logits: torch.Tensor = model(torch.tensor([tokens])).logits[0, -1]
    return logits


def test_sequences_of_unlike_length_foretell_what_each_foretells_alone(
    model: PreTrainedModel,
) -> None:
    batch = Batch(model)
    for tokens in (_SHORT, _LONG, _SHORT):
        batch.join(read(model, tokens), 100)
    found = batch.step([60, 61, 62])
    alone = [plain(model, [*_SHORT, 60]), plain(model, [*_LONG, 61]), plain(model, [*_SHORT, 62])]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_who_stays_when_others_leave_goes_on_as_alone(model: PreTrainedModel) -> None:
    batch = Batch(model)
    for tokens in (_LONG, _SHORT, _LONG):
        batch.join(read(model, tokens), 100)
    batch.step([60, 61, 62])
    batch.keep([1])
    assert len(batch) == 1
    (found,) = batch.step([63])
    torch.testing.assert_close(found, plain(model, [*_SHORT, 61, 63]), atol=1e-4, rtol=1e-4)
    batch.join(read(model, _LONG), 100)
    found = batch.step([64, 65])
    alone = [plain(model, [*_SHORT, 61, 63, 64]), plain(model, [*_LONG, 65])]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_a_batch_takes_sequences_of_its_own_model_only(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    other: Any = open_model(build_tiny_model(tmp_path / "x"))
    assert Batch(model).room(model, 100) > 0
    assert Batch(model).room(other, 100) == 0


@pytest.mark.parametrize(("longest", "room"), [(100, 160), (4096, 1), (4097, 0), (20_000, 0)])
def test_a_batch_holds_a_bounded_number_of_positions(
    model: PreTrainedModel, longest: int, room: int
) -> None:
    """Padding counts: one long sequence makes the short ones as wide as itself."""
    batch = Batch(model)
    batch.join(read(model, _SHORT), 100, 3)
    assert len(batch) == 3
    assert batch.room(model, longest) == room
