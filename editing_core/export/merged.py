"""A revision as a model folder of its own, which `from_pretrained` opens."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from editing_core.model.saving import reading_limits, save_model
from editing_core.model.view import private_copy

# A shard is held in memory a second time while it is written.
_SHARD = "1GB"


def write_merged(
    folder: Path, view: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> list[str]:
    """Write config, weights in safetensors and tokenizer; the weights keep their bits.

    Returns:
        What a reader of the folder should know.

    Raises:
        OSError: The disk did not take a file.
        SafetensorError: The disk did not take the weights.
    """
    # Saving notes the number format in the config, which readers of the view share.
    save_model(folder, private_copy(view), tokenizer, max_shard_size=_SHARD)
    return reading_limits(view.config.to_dict())
