"""Models that many tests share: loaded once a session, never written."""

import os
from pathlib import Path

import pytest

from editing_core.model.loading import LoadedModel, load_model
from tests.support.postgres import postgres_server
from tests.support.tiny import build_tiny_model

__all__ = ["postgres_server"]

_REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """Where converted models and statistics are kept between runs; `make serve` uses the same."""
    return Path(os.environ.get("ERRATA_DATA_DIR", _REPOSITORY / ".errata")) / "cache"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")
    return load_model(str(folder), cache_dir=folder.parent)


@pytest.fixture(scope="session")
def demo_model(cache_dir: Path) -> LoadedModel:
    return load_model("smollm2-135m", cache_dir=cache_dir)
