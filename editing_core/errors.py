"""The errors of the editing core.

EditingError
├── InvalidEdit            the request cannot be an edit: names the field
├── UnknownMethod          no method has this name
├── UnsupportedModel       the model's matrices to edit cannot be derived from its config
├── UnrenderedChat         the model's chat template does not make a text of a conversation
├── ModelNotFound          the model source names nothing that can be loaded
├── DeviceUnavailable      tensors cannot be put on a device of this name
├── SingularStatistics     the key second moments cannot carry this method
├── EditFailed             what can be told of single edits
│   ├── KeyOutsideNullSpace    the projection P leaves too little of an edit's key
│   ├── NonFinite              a tensor on the way to the weights holds NaN or infinity
│   └── GridOverflow           exact sums of factors would leave the range of float64 integers
├── ForeignSums            stored sums of factors are of other matrices than the base's
├── NotLowRank             a change has no factors, so no adapter can hold it
└── RankTooHigh            an adapter would have a higher rank than servers take
"""

from collections.abc import Sequence


class EditingError(Exception):
    """Base of everything the editing core raises on purpose.

    Attributes:
        edits: Ids of the edits at fault, where it is not the fault of all that were solved.
    """

    edits: tuple[str, ...] = ()


class EditFailed(EditingError):
    """Base of what can be told of single edits among those that are solved together.

    Attributes:
        rows: Their places among them.
    """

    def __init__(self, message: str, *, rows: Sequence[int] = (), edits: Sequence[str] = ()):
        super().__init__(message)
        self.rows, self.edits = tuple(rows), tuple(edits)

    def name(self, edits: Sequence[str]) -> None:
        """Say which edits they are, given the ids of all that were solved together."""
        self.edits = self.edits or tuple(edits[row] for row in self.rows)


class InvalidEdit(EditingError):
    """A field of the edit is unusable.

    Attributes:
        field: Name of the offending field: ``subject``, ``prompt`` or ``target``.
    """

    def __init__(self, field: str, message: str, *, edits: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.field, self.edits = field, tuple(edits)


class UnknownMethod(EditingError):
    """No method has this name."""


class UnsupportedModel(EditingError):
    """The resolver cannot tell which matrices of this model to edit."""


class UnrenderedChat(EditingError):
    """The model's chat template does not render a conversation; the message goes on from there."""


class ModelNotFound(EditingError):
    """The model source is neither a bundled alias, a folder, a GGUF file nor a reachable hub id."""


class DeviceUnavailable(EditingError):
    """This PyTorch knows no device of this name, or the machine has none."""


class SingularStatistics(EditingError):
    """The key second moments are not positive definite, non-finite or of the wrong shape."""


class KeyOutsideNullSpace(EditFailed):
    """The null-space projection leaves so little of a key that nothing could be written."""


class NonFinite(EditFailed):
    """A value, key or factor holds NaN or infinity; nothing was written."""


class GridOverflow(EditFailed):
    """A factor or a sum of factors exceeds the fixed-point range in which sums are exact."""


class ForeignSums(EditingError):
    """Stored sums of factors are of other layers, shapes or grids than those of the base."""


class NotLowRank(EditingError):
    """The revision holds a dense change, which is no product of few columns and rows."""


class RankTooHigh(EditingError):
    """The adapter would need a rank above what servers of adapters allow."""
