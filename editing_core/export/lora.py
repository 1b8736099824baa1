"""A revision as a LoRA adapter in PEFT's format: thin QR of the factors, SVD of a small core.

The live edits' factors give Δ = LᵀR with L (n, d_out), R (n, d_in). With thin QRs Lᵀ = Q₁T₁ and
Rᵀ = Q₂T₂, the SVD of the core T₁T₂ᵀ = USVᵀ gives that of Δ = (Q₁U) S (Q₂V)ᵀ without Δ itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from editing_core.errors import NotLowRank, RankTooHigh
from editing_core.model.architecture import Architecture
from editing_core.weights.delta import Delta, Factors

#: the highest rank that vLLM serves
MAX_RANK = 512

_MANY_RANKS = 64  # above it, vLLM reserves much memory for every adapter it may hold


@dataclass(frozen=True)
class AdapterLayer:
    """The change of one matrix, as B A.

    Attributes:
        B: (d_out, r) float32.
        A: (r, d_in) float32.
        exact_rank: The rank of Δ, to the precision of float64.
        dropped_energy: Share of ‖Δ‖²_F that the rank r leaves out.
        float_error: ‖Δᵣ − B A‖_F / ‖Δᵣ‖_F against the best approximation Δᵣ of rank r.
        bfloat16_error: The same, once B and A are rounded to bfloat16.
    """

    B: Tensor
    A: Tensor
    exact_rank: int
    dropped_energy: float
    float_error: float
    bfloat16_error: float

    @property
    def rank(self) -> int:
        """How many columns B has, and rows A."""
        return len(self.A)


@dataclass(frozen=True)
class Adapter:
    """The change of every edited matrix.

    Attributes:
        layers: Layer → its change.
    """

    layers: Mapping[int, AdapterLayer]

    @property
    def rank(self) -> int:
        """The highest rank of a layer; the file pads the others, since servers expect one rank."""
        return max(1, *(layer.rank for layer in self.layers.values()))

    @property
    def warnings(self) -> list[str]:
        """What whoever serves it should know."""
        told = []
        if any(layer.rank < layer.exact_rank for layer in self.layers.values()):
            most = max(layer.dropped_energy for layer in self.layers.values())
            told.append(
                f"rank {self.rank} leaves out up to {100 * most:.3g} % of the energy of a "
                "matrix's change; the adapter is not the revision"
            )
        if self.rank > _MANY_RANKS:
            told.append(
                f"the adapter has rank {self.rank}; above {_MANY_RANKS}, vLLM reserves much memory "
                "for each adapter it may hold: consider format merged, or max_rank"
            )
        return told


def adapter_of(
    deltas: Sequence[Delta], architecture: Architecture, *, max_rank: int | None = None
) -> Adapter:
    """The adapter that does what all these edits do.

    Args:
        deltas: The live edits' changes.
        architecture: Of the model they change.
        max_rank: Keep only so many singular values of each matrix, the largest.

    Raises:
        NotLowRank: An edit was made by a method whose changes are dense.
        RankTooHigh: It takes a higher rank than adapters are served with.
    """
    layers = sorted({layer for delta in deltas for layer in delta.layers})
    found = {}
    for layer in layers:
        parts = [_factors(delta, layer) for delta in deltas if layer in delta.layers]
        left = torch.cat([part.left for part in parts]).double()
        right = torch.cat([part.right for part in parts]).double()
        found[layer] = _compressed(left, right, max_rank)
    adapter = Adapter(found or {0: _nothing(architecture)})
    if adapter.rank > MAX_RANK:
        raise RankTooHigh(
            f"the adapter would have rank {adapter.rank}; servers take at most {MAX_RANK}: export "
            f"format merged, or give max_rank"
        )
    return adapter


def write_adapter(folder: Path, adapter: Adapter, architecture: Architecture, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as PEFT reads them.

    Raises:
        OSError: The disk did not take a file.
        SafetensorError: The disk did not take the weights.
    """
    rank, tensors = adapter.rank, dict[str, Tensor]()
    for layer, found in adapter.layers.items():
        path = f"base_model.model.{architecture.module(layer)}"
        missing = rank - found.rank
        A = torch.nn.functional.pad(found.A, (0, 0, 0, missing))  # (rank, d_in)
        B = torch.nn.functional.pad(found.B, (0, missing))  # (d_out, rank)
        tensors[f"{path}.lora_A.weight"] = A.contiguous()
        tensors[f"{path}.lora_B.weight"] = B.contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,  # Δ = alpha / r · B A
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": architecture.transposed,
        # Full names: a family may call another matrix of the block the same.
        "target_modules": [architecture.module(layer) for layer in sorted(adapter.layers)],
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _factors(delta: Delta, layer: int) -> Factors:
    part = delta.layers[layer]
    if not isinstance(part, Factors):
        raise NotLowRank(
            f"edit {delta.edits[0]} changed layer {layer} by a dense matrix, as ft, rect and prune "
            "do; no adapter can hold it: export format merged or delta"
        )
    return part


def _compressed(left: Tensor, right: Tensor, max_rank: int | None) -> AdapterLayer:
    """``left`` (n, d_out) and ``right`` (n, d_in), float64."""
    left_q, left_t = torch.linalg.qr(left.T)  # (d_out, k₁), (k₁, n)
    right_q, right_t = torch.linalg.qr(right.T)  # (d_in, k₂), (k₂, n)
    U, sizes, vh = torch.linalg.svd(left_t @ right_t.T, full_matrices=False)
    noise = torch.finfo(torch.float64).eps * len(left) * left_t.norm() * right_t.norm()
    exact = int((sizes > noise).sum())
    rank = exact if max_rank is None else min(exact, max_rank)
    root = sizes[:rank].sqrt()
    B, A = left_q @ U[:, :rank] * root, root[:, None] * (vh[:rank] @ right_q.T)
    energy = sizes.square()
    return AdapterLayer(
        B=B.float(),
        A=A.float(),
        exact_rank=exact,
        dropped_energy=float(energy[rank:].sum() / energy.sum()) if exact else 0.0,
        float_error=_rounding_error(B, A, torch.float32),
        bfloat16_error=_rounding_error(B, A, torch.bfloat16),
    )


def _rounding_error(B: Tensor, A: Tensor, dtype: torch.dtype) -> float:
    """‖BA − B̂Â‖_F / ‖BA‖_F for factors rounded to ``dtype``, from the small cores alone."""
    if not len(A):
        return 0.0
    near_b, near_a = (factor.to(dtype).double() for factor in (B, A))
    _, left_t = torch.linalg.qr(torch.cat([B, -near_b], dim=1))
    _, right_t = torch.linalg.qr(torch.cat([A, near_a]).T)
    size = torch.linalg.norm(torch.linalg.qr(B)[1] @ torch.linalg.qr(A.T)[1].T)
    return float((left_t @ right_t.T).norm() / size)


def _nothing(architecture: Architecture) -> AdapterLayer:
    """No change, for a revision without live edits: PEFT wants one matrix at least."""
    B, A = torch.zeros(architecture.width, 0), torch.zeros(0, architecture.key_width)
    return AdapterLayer(B, A, 0, 0.0, 0.0, 0.0)
