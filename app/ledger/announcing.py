"""Tells the outside how far the ledger is: a signed checkpoint in the log, and in a file if wanted.

What has left the machine cannot be set back with it.
"""

from dataclasses import dataclass
from pathlib import Path

from app.errors import Inconsistent
from app.kit.clock import Clock
from app.kit.logs import get_logger
from app.ledger.checkpoint import sign_mark
from app.ledger.mark import Mark
from app.ledger.signing import SigningKey

_log = get_logger(__name__)


@dataclass(frozen=True)
class Announcer:
    """Signs marks and hands them out.

    Attributes:
        data_dir: Where the private key is.
        file: Where checkpoints are appended, one line of JSON each; None for the log only.
        clock: When they are signed.
    """

    data_dir: Path
    file: Path | None
    clock: Clock

    def __call__(self, mark: Mark) -> None:
        """Tell of one; a failure is logged, since what it tells of is committed."""
        try:
            signed = sign_mark(mark, SigningKey.of(self.data_dir), self.clock())
            _log.info("checkpoint", **signed.model_dump())
            if self.file is not None:
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(signed.to_text())
        except (Inconsistent, OSError) as error:
            _log.warning("checkpoint_not_told", size=mark.size, hash=mark.hash, error=str(error))
