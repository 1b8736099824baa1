from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tests.tiny import build_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    return model


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    return tokenizer
