"""How much labels may keep: each has a revision stored whole, for as long as it lasts."""

from dataclasses import dataclass

from app.errors import TooManyLabels
from app.kit.disk import DiskSpace


@dataclass(frozen=True)
class LabelLimits:
    """What the operator allows.

    Attributes:
        most: How many labels there may be; 0 for any number.
        bytes: How many bytes their files may have; 0 for any number.
        space: Of the disk that the files go to; None if it is not looked at.
    """

    most: int = 0
    bytes: int = 0
    space: DiskSpace | None = None

    def require_place(self, taken: int) -> None:
        """Let one more label be given.

        Raises:
            TooManyLabels: There are as many as may be.
        """
        if self.most and taken >= self.most:
            raise TooManyLabels(f"there are {taken} labels", "ERRATA_MAX_LABELS")

    def require_bytes(self, taken: int, more: int) -> None:
        """Let one more file be stored.

        Raises:
            TooManyLabels: The files would be larger than they may be.
            StorageFull: There is too little free space for it.
        """
        if self.bytes and taken + more > self.bytes:
            raise TooManyLabels(
                f"labelled revisions take {taken} bytes, this one {more} more, and {self.bytes} "
                "may be taken",
                "ERRATA_MAX_LABELS_BYTES",
            )
        if self.space is not None:
            self.space.require(more)
