"""The header of a safetensors file, for readers that need no tensor."""

import json

_SIZE_BYTES = 8  # safetensors: length of the JSON header, little-endian, before it


def metadata_in(data: bytes) -> dict[str, str]:
    """What was written beside the tensors.

    Raises:
        ValueError: These bytes are no safetensors file with metadata.
    """
    size = int.from_bytes(data[:_SIZE_BYTES], "little")
    try:
        metadata: dict[str, str] = json.loads(data[_SIZE_BYTES : _SIZE_BYTES + size])[
            "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("these bytes have no safetensors header with metadata") from error
    return metadata


def edits_in(data: bytes) -> tuple[str, ...]:
    """Ids of the edits in a stored delta, in the order of the factors' rows.

    Raises:
        ValueError: These bytes are no stored delta.
    """
    try:
        edits = json.loads(metadata_in(data)["edits"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("these bytes have no header that names edits") from error
    if not (isinstance(edits, list) and all(isinstance(edit, str) for edit in edits)):
        raise ValueError("the header's edits are no list of ids")
    return tuple(edits)
