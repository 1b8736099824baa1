"""The clients that people use, unchanged, in an environment of their own: `make clients`.

Each holds two turns, hears a stream, continues a text and asks for a form; what it was answered is
what the same question is answered without it. Tools are refused by name.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.programs.asked import (
    FIRST,
    FORM_TOKENS,
    MAX_TOKENS,
    MODEL,
    PROMPT,
    SECOND,
    Verdict,
    user,
)

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parents[1]
_BIN = _REPOSITORY / ".venv-clients" / "bin"
_PYTHON, _NODE = str(_BIN / "python"), str(_BIN / "node")
_PLAIN = {"model": MODEL, "max_tokens": MAX_TOKENS, "temperature": 0}
_RUN_S = 120.0

pytestmark = [pytest.mark.clients, pytest.mark.timeout(2 * _RUN_S)]


def run(*command: str, cwd: Path = _REPOSITORY) -> str:
    """What a program prints that ends well."""
    silent = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_API_KEY": "-"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | silent,
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def asked(api: str, path: str, **body: Any) -> Any:
    """The first choice of an answer that no client had a hand in."""
    answer = httpx2.post(f"{api}/{path}", json=_PLAIN | body, timeout=_RUN_S).raise_for_status()
    return answer.json()["choices"][0]


def conversed(api: str) -> list[str]:
    """What the assistant says in both turns."""
    first = asked(api, "chat/completions", messages=[user(FIRST)])["message"]["content"]
    talk = [user(FIRST), {"role": "assistant", "content": first}, user(SECOND)]
    return [first, asked(api, "chat/completions", messages=talk)["message"]["content"]]


def check(api: str, found: dict[str, Any]) -> None:
    turns = conversed(api)
    assert found["turns"] == turns
    assert found["streamed"] == turns[0]
    assert found["completion"] == asked(api, "completions", prompt=PROMPT)["text"]
    Verdict.model_validate(found["form"], strict=True)
    assert found["refused"] == "tools"


@pytest.mark.parametrize(
    "program", ["openai_python", "langchain", "lite", "instructed", "llama_index_like"]
)
def test_a_client_for_python_is_answered_as_everybody_is(api: str, program: str) -> None:
    printed = run(_PYTHON, "-m", f"tests.clients.programs.{program}", api)
    check(api, json.loads(printed.splitlines()[-1]))


def test_the_client_for_node_is_answered_as_everybody_is(api: str) -> None:
    sizes = (str(MAX_TOKENS), str(FORM_TOKENS))
    program = str(_HERE / "node" / "conversation.mjs")
    check(api, json.loads(run(_NODE, program, api, MODEL, FIRST, SECOND, PROMPT, *sizes)))


def test_lm_eval_chats_with_five_stop_texts(api: str, tmp_path: Path) -> None:
    run(
        *(_PYTHON, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
        *("--model_args", f"model={MODEL},base_url={api}/chat/completions"),
        *("--tasks", "errata_chat", "--include_path", str(_HERE / "tasks")),
        *("--apply_chat_template", "--output_path", str(tmp_path), "--log_samples"),
        cwd=_HERE / "tasks",
    )
    (samples,) = tmp_path.rglob("samples_errata_chat_*.jsonl")
    (sample,) = [json.loads(line) for line in samples.read_text().splitlines()]
    assert sample["resps"] == [[conversed(api)[0]]]
