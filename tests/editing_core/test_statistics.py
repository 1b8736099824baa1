import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from editing_core.errors import SingularStatistics
from editing_core.model.loading import LoadedModel
from editing_core.statistics import WINDOW, Statistics, cached_statistics, collect

_TEXT = "The capital of France is Paris, and Rome is the capital of Italy, they say. " * 60
_LAYERS = (1, 2)


def test_a_second_moment_is_the_mean_of_key_products(tiny_model: LoadedModel) -> None:
    found = collect(tiny_model, _LAYERS, _TEXT)
    ids = tiny_model.tokenizer(_TEXT)["input_ids"]
    assert len(ids) > 2 * WINDOW
    for layer in _LAYERS:
        keys: list[torch.Tensor] = []
        module = tiny_model.model.get_submodule(tiny_model.architecture.module(layer))
        handle = module.register_forward_pre_hook(
            lambda _, args, into=keys: into.append(args[0][0])
        )
        for first in range(0, len(ids), WINDOW):
            tiny_model.model(torch.tensor([ids[first : first + WINDOW]]))
        handle.remove()
        stacked = torch.cat(keys).double()
        moment = found.layers[layer]
        rebuilt = moment.eigenvectors @ torch.diag(moment.eigenvalues) @ moment.eigenvectors.T
        assert torch.allclose(rebuilt, stacked.T @ stacked / len(ids), rtol=1e-4, atol=1e-6)
    assert found.tokens == len(ids)


def test_statistics_survive_the_disk(tiny_model: LoadedModel, tmp_path: Path) -> None:
    found = collect(tiny_model, _LAYERS, _TEXT)
    found.save(tmp_path / "s.safetensors")
    read = Statistics.load(tmp_path / "s.safetensors")
    assert (read.tokens, read.digest) == (found.tokens, found.digest)
    for layer in _LAYERS:
        assert torch.equal(read.layers[layer].eigenvalues, found.layers[layer].eigenvalues)


def test_the_same_text_is_read_once_and_another_text_anew(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    steps: list[str] = []

    def progress(step: str, _done: int, _total: int) -> None:
        steps.append(step)

    first = cached_statistics(tiny_model, _LAYERS, _TEXT, tmp_path, progress)
    assert steps
    steps.clear()
    assert cached_statistics(tiny_model, _LAYERS, _TEXT, tmp_path, progress).digest == first.digest
    assert not steps
    other = cached_statistics(tiny_model, _LAYERS, _TEXT + "More.", tmp_path, progress)
    assert steps
    assert other.digest != first.digest


def test_of_several_that_need_the_same_at_once_one_collects_and_the_others_wait(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    together, collectors = threading.Barrier(3), set[int]()

    def progress(_step: str, _done: int, _total: int) -> None:
        collectors.add(threading.get_ident())

    def prepare(_: int) -> str:
        together.wait()
        return cached_statistics(tiny_model, _LAYERS, _TEXT, tmp_path, progress).digest

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(prepare, range(3)))) == 1
    assert len(collectors) == 1


def test_an_empty_text_is_refused(tiny_model: LoadedModel) -> None:
    with pytest.raises(SingularStatistics, match="no tokens"):
        collect(tiny_model, _LAYERS, "")
