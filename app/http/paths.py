"""What stands in the paths of requests."""

from typing import Annotated

from fastapi import Path

LabelPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A snapshot's label in a path."""

IdPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id in a path; what is not one never reaches the database."""
