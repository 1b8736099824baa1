"""What is stored, or was handed in as evidence, does not hold."""

from app.errors.base import ErrataError


class Inconsistent(ErrataError):
    """Stored state contradicts itself; nothing was changed and an operator must look."""

    code = "inconsistent_state"


class BaseMismatch(Inconsistent):
    """The database was started with another base model."""

    code = "base_mismatch"


class RecipeMismatch(Inconsistent):
    """The recipe in use was made for another model, text or matrices than those that are set."""

    code = "recipe_mismatch"


class UnusableRecipe(Inconsistent):
    """A file that should hold or name a recipe does not, or was altered."""

    code = "unusable_recipe"


class StaleParent(Inconsistent):
    """The head moved while a revision was being computed on top of it."""

    code = "stale_parent"


class CorruptArtefact(Inconsistent):
    """An artefact is missing or no longer has the digest it is named after."""

    code = "corrupt_artefact"


class CorruptLedger(Inconsistent):
    """The end of the ledger is not an entry that could be signed."""

    code = "corrupt_ledger"


class SetBack(Inconsistent):
    """The database lacks ledger entries that this data directory has seen committed."""

    code = "set_back"


class UnusableMark(Inconsistent):
    """The file that should say how far the ledger was says something else."""

    code = "unusable_mark"


class UnusableKey(Inconsistent):
    """The file that should hold the ledger's private key holds something else."""

    code = "unusable_key"


class UnusablePepper(Inconsistent):
    """The secret that API keys were made with is missing, or is no such secret."""

    code = "unusable_pepper"


class BadCheckpoint(ErrataError):
    """A text is not a checkpoint as `GET /v1/ledger/checkpoint` answers it."""

    code = "bad_checkpoint"


class BrokenEvidence(ErrataError):
    """A bundle does not hold.

    Attributes:
        part: What kind of thing is bad: `entry`, `artefact`, `revision`, `checkpoint`, `model`, or
            `member` for a file that does not belong.
        name: Which one: an index, a digest, a number, or the name of a file.
    """

    code = "broken_evidence"

    def __init__(self, part: str, name: int | str, message: str) -> None:
        super().__init__(message)
        self.part = part
        self.name = name
