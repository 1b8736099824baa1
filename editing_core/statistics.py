"""Second moments of the keys on ordinary text: C = E[kkᵀ], per edited layer.

One pass over the text serves every layer, stops after the last of them, and never builds
sequences longer than ``WINDOW`` tokens. A second moment is kept as its eigendecomposition: the
null space of AlphaEdit and the solves of MEMIT both read from it.

Edits are solved in float64 on the device of the statistics, which need not be the model's: the
host, unless they are moved. What the model computes is brought here.
"""

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from editing_core.errors import SingularStatistics
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.model.packing import PackedRows
from editing_core.progress import Progress, silent

WINDOW = 512  # tokens a sequence; attention beyond it adds cost, not information about keys
_ROWS = 4  # windows a forward pass
_LEAST_EIGENVALUE = 1e-10  # of the largest; below it C⁻¹ is noise


@dataclass(frozen=True)
class SecondMoment:
    """C = V diag(S) Vᵀ.

    Attributes:
        eigenvalues: S (d_in,), ascending.
        eigenvectors: V (d_in, d_in), one a column.

    Raises:
        SingularStatistics: Either holds NaN or infinity.
    """

    eigenvalues: Tensor
    eigenvectors: Tensor

    def __post_init__(self) -> None:
        if not (self.eigenvalues.isfinite().all() and self.eigenvectors.isfinite().all()):
            raise SingularStatistics(
                "key second moment holds NaN or infinity; delete the statistics in the cache, "
                "and they are collected anew"
            )

    @classmethod
    def of(cls, matrix: Tensor) -> "SecondMoment":
        """Decompose C (d_in, d_in) in float64.

        Raises:
            SingularStatistics: C holds NaN or infinity, or is zero.
        """
        if not torch.isfinite(matrix).all() or not matrix.any():
            raise SingularStatistics("key second moment is zero or not finite; collect it anew")
        values, vectors = torch.linalg.eigh(matrix.double())
        return cls(values, vectors)

    def solve(self, keys: Tensor) -> Tensor:
        """C⁻¹ K for K (d_in, B).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        values, vectors = self._positive(), self.eigenvectors
        return vectors @ ((vectors.T @ keys) / values[:, None])

    def whiten(self, keys: Tensor) -> Tensor:
        """C^(−1/2) K, symmetric, for K (d_in, B).

        Raises:
            SingularStatistics: C is not positive definite.
        """
        values, vectors = self._positive(), self.eigenvectors
        return vectors @ ((vectors.T @ keys) / values.sqrt()[:, None])

    def to(self, device: torch.device) -> "SecondMoment":
        """The same on another device."""
        return SecondMoment(self.eigenvalues.to(device), self.eigenvectors.to(device))

    def _positive(self) -> Tensor:
        values = self.eigenvalues
        if float(values[0]) <= _LEAST_EIGENVALUE * float(values[-1]):
            raise SingularStatistics(
                f"key second moment is singular (eigenvalues {float(values[0]):.3g} to "
                f"{float(values[-1]):.3g}); collect it from more text than d_in = {len(values)} "
                "distinct tokens"
            )
        return values

    def null_space(self, tau: float) -> Callable[[Tensor], Tensor]:
        """P = I − QQᵀ as a function of keys (d_in, B); Q: eigenvectors with eigenvalue ≥ τ."""
        first_kept = int((self.eigenvalues < tau).sum())
        kept = self.eigenvectors[:, first_kept:]  # Q (d_in, q)
        return lambda keys: keys - kept @ (kept.T @ keys)


@dataclass(frozen=True)
class Statistics:
    """Second moments of one model's edited layers, on one text.

    Attributes:
        layers: Layer → C.
        tokens: Tokens of text behind them.
        digest: SHA-256 of what they are a function of: model, layers, text, window.
    """

    layers: dict[int, SecondMoment]
    tokens: int
    digest: str

    @property
    def device(self) -> torch.device:
        """Where edits are solved."""
        return next(iter(self.layers.values())).eigenvalues.device

    def to(self, device: torch.device) -> "Statistics":
        """The same on another device, which then holds d_in² float64 numbers a layer."""
        moved = {layer: moment.to(device) for layer, moment in self.layers.items()}
        return replace(self, layers=moved)

    def save(self, path: Path) -> None:
        """Write as safetensors: eigenvalues in float64, eigenvectors in float32."""
        tensors: dict[str, Tensor] = {}
        for layer, moment in self.layers.items():
            tensors[f"{layer}.eigenvalues"] = moment.eigenvalues.contiguous()
            tensors[f"{layer}.eigenvectors"] = moment.eigenvectors.float().contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"tokens": str(self.tokens), "digest": self.digest})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what ``save`` wrote, onto the host."""
        layers: dict[int, SecondMoment] = {}
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            for layer in sorted({int(name.split(".")[0]) for name in file.keys()}):  # noqa: SIM118
                layers[layer] = SecondMoment(
                    file.get_tensor(f"{layer}.eigenvalues"),
                    file.get_tensor(f"{layer}.eigenvectors").double(),
                )
        return cls(layers, int(metadata["tokens"]), metadata["digest"])


def statistics_digest(model: LoadedModel, layers: Sequence[int], text: str) -> str:
    """SHA-256 naming the statistics of ``layers`` of this model on this text."""
    parts = [model.digest, ",".join(map(str, layers)), str(WINDOW)]
    if model.architecture.site != "feed-forward":
        parts.append(model.architecture.site)
    head = "\n".join(parts).encode()
    return hashlib.sha256(head + b"\n" + text.encode()).hexdigest()


def statistics_path(model: LoadedModel, layers: Sequence[int], text: str, directory: Path) -> Path:
    """Where the statistics of these layers are kept in ``directory``."""
    return directory / f"{statistics_digest(model, layers, text)}.safetensors"


def keep_part(
    whole: Statistics, model: LoadedModel, layers: Sequence[int], text: str, directory: Path
) -> Statistics:
    """Some layers of what was collected on ``text``, kept as if collected for them alone."""
    digest = statistics_digest(model, layers, text)
    part = Statistics({layer: whole.layers[layer] for layer in layers}, whole.tokens, digest)
    part.save(statistics_path(model, layers, text, directory))
    return part


def cached_statistics(
    model: LoadedModel,
    layers: Sequence[int],
    text: str,
    directory: Path,
    progress: Progress = silent,
) -> Statistics:
    """The statistics of this model and text, collected once and kept in ``directory``.

    Of several processes that share the directory one collects, and the others wait for it.
    """
    path = statistics_path(model, layers, text, directory)
    if not path.exists():
        with _locked(path):
            if not path.exists():
                collect(model, layers, text, progress).save(path)
    return Statistics.load(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The right to make a file, for one process at a time; a process that dies gives it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@torch.no_grad()
def collect(
    model: LoadedModel, layers: Sequence[int], text: str, progress: Progress = silent
) -> Statistics:
    """Second moments of the inputs of the edited matrices of ``layers``, in one pass.

    The sums are kept, and decomposed, on the model's device: it needs room for d_in² float64
    numbers a layer. What comes of them is on the host.

    Raises:
        SingularStatistics: The text has no tokens, or the keys are not finite.
    """
    packed = PackedModel(model.model, model.architecture)
    width = model.architecture.key_width
    sums = {
        layer: torch.zeros(width, width, dtype=torch.float64, device=model.device)
        for layer in layers
    }
    handles = [
        packed.matrix(layer).register_forward_pre_hook(_adder(sums[layer])) for layer in layers
    ]
    windows = _windows(model, text)
    if not windows:
        raise SingularStatistics("the text for the key statistics has no tokens")
    done = 0
    try:
        for rows in _batches(windows):
            laid = PackedRows.of(rows, model.device)
            packed.run(laid.tokens, laid.packing, last=max(layers))
            done += len(laid.tokens)
            progress("key statistics", done, sum(map(len, windows)))
    finally:
        for handle in handles:
            handle.remove()
    host = torch.device("cpu")
    moments = {layer: SecondMoment.of(sums.pop(layer).div_(done)).to(host) for layer in layers}
    return Statistics(moments, done, statistics_digest(model, layers, text))


def _adder(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        keys = args[0].flatten(0, -2).float()  # (T, d_in)
        total.add_(keys.T @ keys)

    return add


def _windows(model: LoadedModel, text: str) -> list[list[int]]:
    """The text as rows of at most ``WINDOW`` tokens, each started as a prompt would be."""
    start: list[int] = model.tokenizer("")["input_ids"]
    ids: list[int] = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    step = WINDOW - len(start)
    return [start + ids[left : left + step] for left in range(0, len(ids), step)]


def _batches(windows: list[list[int]]) -> Iterator[list[list[int]]]:
    for first in range(0, len(windows), _ROWS):
        yield windows[first : first + _ROWS]
