"""A revision in forms that other software opens: a model folder, a LoRA adapter, a delta file."""

from editing_core.export.delta import live_delta_bytes, live_deltas
from editing_core.export.lora import Adapter, AdapterLayer, adapter_of, write_adapter
from editing_core.export.merged import write_merged

__all__ = [
    "Adapter",
    "AdapterLayer",
    "adapter_of",
    "live_delta_bytes",
    "live_deltas",
    "write_adapter",
    "write_merged",
]
