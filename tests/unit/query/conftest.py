from pathlib import Path

import pytest
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from editing_core.model.opening import open_model, open_tokenizer
from tests.tiny import build_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = open_model(tiny_folder).eval()
    return model


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    tokenizer: Tokenizer = open_tokenizer(tiny_folder)
    return tokenizer
