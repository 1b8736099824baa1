"""The header of a stored delta, for readers that need no tensor."""

import json

_SIZE_BYTES = 8  # safetensors: length of the JSON header, little-endian, before it


def edits_in(data: bytes) -> tuple[str, ...]:
    """Ids of the edits in a stored delta, in the order of the factors' rows.

    Raises:
        ValueError: These bytes are no stored delta.
    """
    size = int.from_bytes(data[:_SIZE_BYTES], "little")
    try:
        header = json.loads(data[_SIZE_BYTES : _SIZE_BYTES + size])
        edits = json.loads(header["__metadata__"]["edits"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("these bytes have no header that names edits") from error
    if not (isinstance(edits, list) and all(isinstance(edit, str) for edit in edits)):
        raise ValueError("the header's edits are no list of ids")
    return tuple(edits)
