"""Reads exports with the transformers and PEFT of the Python that runs it; knows nothing of Errata.

Usage: python reading.py FOLDER [--adapters]

Each folder in FOLDER has a model ``merged``, its ``base`` and the adapter ``lora``; beside them is
``questions.json``. What each answers is written to the standard output, in JSON.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

_NEW_TOKENS = 4


def read(folder: Path, questions: dict[str, Any], adapters: bool) -> dict[str, Any]:
    """What the model in ``folder/merged``, and its base with ``folder/lora``, say."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
        options = questions["options"].get(folder.name, {})
        model = AutoModelForCausalLM.from_pretrained(folder / "merged", **options).eval()
    except ValueError as error:
        return {"refused": str(error)}
    ids = tokenizer(questions["text"])["input_ids"]
    asked = tokenizer(questions["text"], return_tensors="pt")
    dtype = AutoModelForCausalLM.from_pretrained(folder / "merged", torch_dtype="auto").dtype
    written = model.generate(**asked, max_new_tokens=_NEW_TOKENS, do_sample=False)
    return {
        "dtype": str(dtype),
        "ids": ids,
        "base_ids": AutoTokenizer.from_pretrained(folder / "base")(questions["text"])["input_ids"],
        "decoded": tokenizer.decode(ids),
        "chat": tokenizer.apply_chat_template(questions["messages"], tokenize=False),
        "special": sorted(tokenizer.all_special_tokens),
        "written": tokenizer.decode(written[0, len(ids) :]),
        "logits": _logits(model, ids),
        "adapted": _adapted(folder, ids, options) if adapters else None,
    }


def _adapted(folder: Path, ids: list[int], options: dict[str, Any]) -> list[float]:
    """Last logits of the base with the adapter."""
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(folder / "base", **options)
    return _logits(PeftModel.from_pretrained(base, str(folder / "lora")).eval(), ids)


@torch.no_grad()
def _logits(model: Any, ids: list[int]) -> list[float]:
    found: list[float] = model(torch.tensor([ids])).logits[0, -1].float().tolist()
    return found


def main(folder: Path, adapters: bool) -> None:
    """Answer for every folder."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    answers = {
        path.name: read(path, questions, adapters)
        for path in sorted(folder.iterdir())
        if path.is_dir()
    }
    versions = {name: version(name) for name in ("transformers", "peft")}
    json.dump({"versions": versions, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--adapters" in sys.argv[2:])
