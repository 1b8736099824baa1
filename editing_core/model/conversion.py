"""From a GGUF file to a folder that `from_pretrained` opens, in a process of its own.

Dequantising needs several times the model's memory, which an allocator does not give back: whoever
goes on to serve the model must not have done it.
"""

import subprocess
import sys
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from editing_core.errors import ModelNotFound
from editing_core.model.opening import open_model, open_tokenizer, refuse_adapter
from editing_core.model.saving import save_model


def convert(gguf: Path, folder: Path) -> None:
    """Write the dequantised model and its tokenizer to ``folder``.

    Raises:
        ModelNotFound: The file holds no model that transformers can read; the message says why.
    """
    refuse_adapter(gguf.parent)
    command = [sys.executable, "-m", __name__, str(gguf), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise ModelNotFound(f"model file {str(gguf)!r} cannot be converted: {told[-1]}")


def _write(gguf: Path, folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    tokenizer = open_tokenizer(gguf.parent, gguf_file=gguf.name)
    model = open_model(gguf.parent, dtype=torch.float32, gguf_file=gguf.name)
    # The weights are plain float32 now; what marks the model as quantised would refuse saving.
    model.hf_quantizer = None
    del model.config.quantization_config
    save_model(folder, model, tokenizer)


if __name__ == "__main__":
    _write(*map(Path, sys.argv[1:]))
