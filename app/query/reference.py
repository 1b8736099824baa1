"""How a request names the model it wants: `name`, `name@17`, `name@head`, `name@0`."""

from app.errors import UnknownModel, UnknownRevision
from app.kit.fields import MAX_INTEGER

_SHOWN_CHARS = 80
_DIGITS = len(str(MAX_INTEGER))


def revision_of(reference: str | None, name: str) -> int | None:
    """The revision a model reference pins, or None for whatever the head is.

    Args:
        reference: What the request says; None means the served model at its head.
        name: The name of the served model.

    Raises:
        UnknownModel: The reference names another model.
        UnknownRevision: What follows `@` is neither a number nor `head`.
    """
    if reference is None or reference == name:
        return None
    model, at, revision = reference.rpartition("@")
    if not at or model != name:
        raise UnknownModel(
            f"no model is served as {reference[:_SHOWN_CHARS]!r}; "
            f"accepted are {name!r} and {name + '@<revision>'!r}",
            field="model",
        )
    if revision == "head":
        return None
    is_number = revision.isascii() and revision.isdigit() and len(revision) <= _DIGITS
    if not is_number or int(revision) > MAX_INTEGER:
        raise UnknownRevision(f"{revision[:_SHOWN_CHARS]!r}", field="model")
    return int(revision)
