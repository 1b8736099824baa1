"""lm-eval, unchanged, runs a task of its own through `/v1/completions`: `make eval`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from app.resident.resident import Resident
from tests.acceptance.query.conftest import HEAD
from tests.support.tiny import tiny_tokenizer

_TASKS = Path(__file__).parent / "tasks"
_RUN_S = 240

pytestmark = [pytest.mark.lm_eval, pytest.mark.slow, pytest.mark.timeout(2 * _RUN_S)]


def evaluate(server: str, model: str, tokenizer: Path, out: Path) -> list[dict[str, Any]]:
    """Run the task as anybody would; its samples in order."""
    arguments = {
        "model": model,
        "base_url": f"{server}/v1/completions",
        "tokenizer": str(tokenizer),
        "tokenizer_backend": "huggingface",
        "num_concurrent": "2",
        "max_length": "512",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"),
            *("--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())),
            *("--tasks", "errata_facts", "--include_path", str(_TASKS)),
            *("--output_path", str(out), "--log_samples", "--batch_size", "2"),
        ],
        cwd=_TASKS,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "huggingface")},
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (samples,) = out.rglob("samples_errata_facts_*.jsonl")
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    return sorted(found, key=lambda sample: int(sample["doc_id"]))


@torch.no_grad()
def likelihoods(resident: Resident, revision: int, doc: dict[str, Any]) -> list[float]:
    """What a plain forward pass makes of each answer."""
    found = []
    context = resident.tokenizer(doc["question"])["input_ids"]
    for choice in doc["choices"]:
        ids = resident.tokenizer(f"{doc['question']} {choice}")["input_ids"]
        with resident.view(revision) as view:
            logprobs = view.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(context) - 1, len(ids) - 1)
        found.append(float(logprobs[places, ids[len(context) :]].sum()))
    return found


@pytest.mark.parametrize(("model", "revision"), [("tiny@0", 0), ("tiny", HEAD)])
def test_lm_eval_measures_what_the_revision_says(
    server: str, resident: Resident, tmp_path: Path, model: str, revision: int
) -> None:
    tokenizer = tmp_path / "tokenizer"
    tiny_tokenizer().save_pretrained(tokenizer)
    samples = evaluate(server, model, tokenizer, tmp_path / "out")
    assert len(samples) == 4
    for sample in samples:
        expected = likelihoods(resident, revision, sample["doc"])
        told = [float(logprob) for logprob, _greedy in sample["filtered_resps"]]
        assert told == pytest.approx(expected, abs=1e-3)
        best = expected.index(max(expected))
        assert sample["acc"] == float(best == sample["doc"]["answer"])
