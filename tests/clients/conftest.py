"""A real server with a tiny random model that chats."""

from collections.abc import Iterator

import pytest

from tests.acceptance.server import calibrate_quickly, running
from tests.clients.programs.asked import MODEL
from tests.support.tiny import build_tiny_model

# instructor and LlamaIndex write the schema into the prompt, which the tiny tokenizer spells out.
_CONTEXT = 4096


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of its API."""
    folder = tmp_path_factory.mktemp("clients")
    model = build_tiny_model(folder / MODEL, sizes={"max_position_embeddings": _CONTEXT})
    calibrate_quickly(folder / "data")
    with running(folder / "data", str(model)) as server:
        yield f"{server.url}/v1"
