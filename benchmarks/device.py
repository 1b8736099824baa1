"""What a device gives and how fast: `make device-check`.

Parity with the host on a small random model, an edit through a real server, and seconds an edit
for random models of published shapes. It needs neither weights nor a network.
"""

import platform
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import TracebackType
from typing import Annotated, Self

import torch
import typer
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from app.client import Errata
from app.kit.permissions import keep_to_ourselves
from benchmarks.core import FLOPS, Figure, seconds, show
from benchmarks.memory import PeakMemory
from benchmarks.parity import Finding, Twins
from benchmarks.shapes import PUBLISHED, SHAPES, Shape, model_of, recipe_of, statistics_of
from editing_core.edit import Edit
from editing_core.editor import Editor
from editing_core.model.device import device_named
from editing_core.model.loading import LoadedModel
from editing_core.model.packed import PackedModel
from editing_core.values import optimise
from tests.acceptance.server import calibrate_quickly, running
from tests.support.tiny import build_tiny_model

_METHOD = "memit+sphere"
_GEMM_ROWS, _GEMM_RUNS = 512, 20
_WAIT_S = 60.0


def parity(device: torch.device, console: Console) -> bool:
    """Compare host and device; whether all is within its bounds."""
    with TemporaryDirectory() as folder:
        findings = Twins(Path(folder), device).findings()
    figures = [_figure(finding) for finding in findings]
    show(console, f"relative difference of {device} and the host", figures)
    return all(finding.holds for finding in findings)


def _figure(finding: Finding) -> Figure:
    mark = "" if finding.holds else "  NOT WITHIN IT"
    return Figure(finding.what, f"{finding.found:.1e}{mark}", f"{finding.allowed:.1e}")


def served_edit(device: torch.device, console: Console) -> bool:
    """An edit and its rollback through a server with a random model; whether both worked."""
    with TemporaryDirectory() as folder:
        model, data = build_tiny_model(Path(folder) / "tiny"), Path(folder) / "data"
        calibrate_quickly(data)
        settings = {"ERRATA_DEVICE": str(device), "ERRATA_REDIS_URL": "memory://"}
        with running(data, str(model), **settings) as server, Errata(server.url) as errata:
            edit = errata.submit("France", "The capital of {} is", "Rome", force=True)
            edit = errata.wait(edit.id, timeout_s=_WAIT_S)
            said = errata.complete("The capital of France is", max_tokens=4)
            back = errata.wait_operation(errata.rollback(0).id)
            digests = {r.number: r.weights_digest for r in errata.revisions()}
    same = digests.get(0) == digests.get(2)
    figures = [
        Figure("edit", edit.status, "committed"),
        Figure("revision that answers", str(said.revision), "1"),
        Figure("rollback", back.status, "committed"),
        Figure("weights after it are the base's", str(same), "True"),
    ]
    show(console, f"a server on {device}", figures)
    return all(figure.measured == figure.aim for figure in figures)


def speed(shape: Shape, device: torch.device, console: Console) -> None:
    """Seconds an edit by phase, and what they are to be compared with."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    started = perf_counter()
    model = model_of(shape, device, dtype)
    settle(device)
    figures = [Figure("random model made, s", f"{perf_counter() - started:.1f}")]
    for place in dict.fromkeys((torch.device("cpu"), device)):
        editor = Editor(model, recipe_of(shape), statistics_of(shape, place))
        first = editor.solve(model.model, _edits(1), method=_METHOD).seconds
        figures.append(
            Figure(f"solved on {place}: SPHERE's directions, once, s", f"{first.projection:.2f}")
        )
        for size in shape.batches:
            figures += _batch_figures(editor, model, size, place)
        del editor  # and with it statistics of gigabytes
    figures += _share_figures(model, shape, dtype)
    stored = f"{shape.statistics_bytes / 1e9:.2f}"
    figures.append(Figure("statistics of the edited layers, float64, GB", stored))
    show(console, f"{shape.name} shape, {dtype}, {name_of(device)}", figures)


def _batch_figures(
    editor: Editor, model: LoadedModel, size: int, place: torch.device
) -> list[Figure]:
    what = f"solved on {place}, batch of {size}"
    with Peak(model.device) as peak:
        spent = editor.solve(model.model, _edits(size), method=_METHOD).seconds
    phases = asdict(spent)
    total = sum(phases.values())
    each = ", ".join(f"{phase} {took / size:.3f}" for phase, took in phases.items())
    return [
        Figure(f"{what}: s an edit", f"{total / size:.3f} ({each})"),
        Figure(f"{what}: SPHERE's share", f"{spent.projection / total:.2%}"),
        Figure(f"{what}: peak memory above the model's, GB", f"{peak.extra / 1e9:.2f}"),
    ]


def _share_figures(model: LoadedModel, shape: Shape, dtype: torch.dtype) -> list[Figure]:
    """How much of what the device can do the values' optimisation gets out of it."""
    rate, size = gemm_rate(model, dtype), shape.batches[1]
    packed = PackedModel(model.model, model.architecture)

    def values() -> None:
        optimise(packed, model.tokenizer, _edits(size), recipe_of(shape))

    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        values()
    settle(model.device)
    flops, took = counter.get_total_flops(), seconds(values)
    return [
        Figure("GEMM rate, TFLOP/s", f"{rate / 1e12:.3f}"),
        Figure("values, TFLOP an edit", f"{flops / size / 1e12:.4f}"),
        Figure(f"values, batch of {size}: share of the GEMM rate", f"{flops / took / rate:.1%}"),
    ]


def gemm_rate(model: LoadedModel, dtype: torch.dtype) -> float:
    """FLOP/s of the largest product of a step, as the device does it when left alone."""
    width, wide = model.architecture.width, model.architecture.key_width
    left = torch.randn(_GEMM_ROWS, width, device=model.device, dtype=dtype)
    right = torch.randn(width, wide, device=model.device, dtype=dtype)

    def products() -> None:
        for _ in range(_GEMM_RUNS):
            left @ right
        settle(model.device)

    products()
    return 2 * _GEMM_RUNS * _GEMM_ROWS * width * wide / seconds(products)


class Peak:
    """The most memory that is taken inside ``with`` above what was taken before, in bytes.

    Of the device; where that is the host, of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self.extra = 0
        self._device, self._before = device, 0
        self._host = PeakMemory()

    def __enter__(self) -> Self:
        if self._device.type == "cpu":
            self._host.__enter__()
        else:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cpu":
            self._host.__exit__(kind, error, trace)
            self.extra = self._host.extra
        else:
            self.extra = torch.cuda.max_memory_allocated(self._device) - self._before


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name_of(device: torch.device) -> str:
    """The card's name, or the kind of processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _edits(count: int) -> list[Edit]:
    return [
        Edit(str(number), f"Place {number}", "The capital of {} is", "Rome")
        for number in range(count)
    ]


def check(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1")] = "cuda",
    shape: Annotated[list[str] | None, typer.Option(help=", ".join(SHAPES))] = None,
) -> None:
    """Hold a device against the host, edit through a server, and time edits of large models."""
    keep_to_ourselves()
    console, place = Console(), device_named(device)
    holds = [parity(place, console), served_edit(place, console)]
    for name in shape or PUBLISHED:
        speed(SHAPES[name], place, console)
    if not all(holds):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(check)
