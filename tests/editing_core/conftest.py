from collections.abc import Iterator

import pytest
import torch

from editing_core.model.loading import LoadedModel, load_model
from tests.support.families import EDITABLE
from tests.support.tiny import build_tiny_model


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Matrices this small are slower on two threads, and far slower when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=EDITABLE)
def family_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LoadedModel:
    """A tiny model of each family that can be edited."""
    family: str = request.param
    folder = build_tiny_model(tmp_path_factory.mktemp(family) / family, family=family)
    return load_model(str(folder), cache_dir=folder.parent)
