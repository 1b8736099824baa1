"""Things that are there, in a state that does not allow what is asked."""

from collections.abc import Sequence

from app.errors.base import Refusal


class WrongState(Refusal):
    """The thing exists, but its state forbids what was asked."""

    status = 409
    code = "wrong_state"


class HeadMoved(WrongState):
    """The head is not the revision that the client had seen."""

    status = 412
    code = "head_moved"

    def __init__(self, expected: int, head: int | None) -> None:
        found = "there is no revision yet" if head is None else f"the head is revision {head}"
        super().__init__(
            f"{found}, not {expected}; nothing was changed: look at what was committed since, then "
            "ask again",
            field="if_head",
        )


class KeyDamaged(WrongState):
    """The row of an API key holds what no key could."""

    code = "key_damaged"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"what is stored of API key {key_id} was altered, and is no key: it opens nothing, and "
            "need not be revoked"
        )


class KeyMadeBefore(WrongState):
    """The same request has made an API key, whose secret was in that answer alone."""

    code = "key_made_before"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"this request made API key {key_id} before; its secret was in that answer and is "
            f"stored nowhere. If the answer was lost, DELETE /v1/keys/{key_id} and ask for a new "
            "key with another Idempotency-Key",
            field="Idempotency-Key",
        )


class LabelTaken(WrongState):
    """The label names another revision."""

    code = "label_taken"

    def __init__(self, label: str, revision: int) -> None:
        super().__init__(
            f"label {label!r} is on revision {revision} and stays there; choose another label, or "
            f"DELETE /v1/snapshots/{label} first",
            field="label",
        )


class TooManyLabels(WrongState):
    """A further labelled revision would take more than labels may."""

    code = "too_many_labels"

    def __init__(self, there: str, setting: str) -> None:
        super().__init__(
            f"{there}, the most that labels may take ({setting}); remove one first: "
            "DELETE /v1/snapshots/LABEL",
            field="label",
        )


class SiblingsUnknown(WrongState):
    """Facts that share the value to undo cannot be measured: their words are erased."""

    code = "siblings_unknown"

    def __init__(self, edit_id: str, erased: Sequence[str]) -> None:
        super().__init__(
            f"edit {edit_id!r} shares its value with {', '.join(erased)}, whose words were erased, "
            "so they can be neither asked nor solved again; send dry_run=true to see what else "
            'would change, or "force": true to undo it all the same',
        )


class ExportNotFinished(WrongState):
    """The export has no file."""

    code = "export_not_finished"

    def __init__(self, export_id: str, status: str, reason: str | None) -> None:
        told = f": {reason}" if reason else ", and has no file yet"
        super().__init__(f"{export_id} is {status}{told}")
