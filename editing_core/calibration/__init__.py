"""Finding the recipe of a model that nobody has tuned, with evidence."""

from editing_core.calibration.sweep import calibrate
from editing_core.calibration.trial import Calibration, Trial

__all__ = ["Calibration", "Trial", "calibrate"]
