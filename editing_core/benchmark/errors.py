"""The errors of evaluation.

EditingError
└── EvaluationError
    ├── UnreadableRecords      a data file does not hold what its format says
    ├── TooFewRecords          a data file holds fewer usable records than are to be edited
    ├── OtherConfiguration     a folder holds the results of another benchmark
    ├── NoResults              a folder is not that of a benchmark
    ├── FolderInUse            another process is writing to the folder
    └── MissingExtra           plots need packages that are not installed
"""

from editing_core.errors import EditingError


class EvaluationError(EditingError):
    """Base of everything evaluation raises on purpose."""


class UnreadableRecords(EvaluationError):
    """A data file is absent, or does not hold records of the format that was named."""


class TooFewRecords(EvaluationError):
    """A data file holds fewer usable records than are to be edited."""


class OtherConfiguration(EvaluationError):
    """The folder holds the results of a benchmark that was configured differently."""


class NoResults(EvaluationError):
    """The folder holds no benchmark."""


class FolderInUse(EvaluationError):
    """Another process is writing to the folder."""


class MissingExtra(EvaluationError):
    """Plots need matplotlib and scikit-learn, which the extra ``bench`` installs."""
