"""Opening what others made: the one place that has transformers read a model or a tokenizer.

Code of a folder or a repository is never run and pickles are never loaded, and no prompt on the
terminal asks for either.
"""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing_core.errors import ModelNotFound

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What reading a damaged or hostile model raises."""

_CODE = "trust_remote_code"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def open_tokenizer(source: str | Path, **options: Any) -> Any:
    """The tokenizer of a folder or hub id.

    Args:
        source: Folder or hub id.
        options: More of what ``from_pretrained`` takes.

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)


def open_model(source: str | Path, *, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """The causal language model of a folder or hub id.

    Args:
        source: Folder or hub id.
        dtype: Of its parameters; None for what they are stored as.
        options: More of what ``from_pretrained`` takes.

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    return AutoModelForCausalLM.from_pretrained(
        source,
        dtype="auto" if dtype is None else dtype,
        trust_remote_code=False,
        use_safetensors=True,
        **options,
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder that would have other things read than a model in it.

    Raises:
        ModelNotFound: It holds an adapter, pickled weights alone, or names or links of files
            elsewhere; the message says what would be accepted.
    """
    for path in folder.rglob("*"):
        if not _is_within(path, folder):
            raise ModelNotFound(
                f"model folder {str(folder)!r} has a link to a file elsewhere, {path.name!r}; "
                "put the file itself in its place"
            )
    refuse_adapter(folder)
    for index in folder.glob("*.safetensors.index.json"):
        _check_index(index)
    if not any(folder.glob("*.safetensors")) and any(
        found for kind in _PICKLED for found in folder.glob(kind)
    ):
        raise ModelNotFound(
            f"model folder {str(folder)!r} holds pickled weights, which are never read; "
            "convert them to safetensors"
        )


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter: in its place, the model that it names would be read.

    Raises:
        ModelNotFound: It holds one.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelNotFound(
            f"model folder {str(folder)!r} holds an adapter; merge it into its model first"
        )


def reason(error: Exception) -> str:
    """Why a model was not read, in words that ask for nothing we never do."""
    if _CODE in str(error):
        return (
            "its architecture is known only to code that it brings (auto_map), which is never run; "
            "give a model of an architecture that transformers has"
        )
    return str(error) or type(error).__name__


def _is_within(path: Path, folder: Path) -> bool:
    if not path.is_symlink():
        return True
    home = folder.resolve()
    # The cache of the hub keeps the files of all revisions beside them, and links there.
    blobs = home.parent.parent / "blobs"
    found = path.resolve()
    return found.is_relative_to(home) or (home.parent.name == "snapshots" and found.parent == blobs)


def _check_index(index: Path) -> None:
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        plain = all(Path(part).name == part and part.endswith(".safetensors") for part in parts)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelNotFound(f"index {str(index)!r} names no files: {error}") from error
    if not plain:
        raise ModelNotFound(
            f"index {str(index)!r} names files that are no safetensors files beside it"
        )
