"""What every program asks, and how it tells what it was answered."""

import json
import sys
from typing import Any

from pydantic import BaseModel

MODEL = "tiny"
FIRST = "Say hi."
SECOND = "Again."
PROMPT = "The capital of France is"
MAX_TOKENS = 8
FORM_TOKENS = 60


class Verdict(BaseModel):
    """Every value is of a bounded length: a random model ends none."""

    said: bool
    sure: bool


def address() -> str:
    """Of the server's API, as the program was told."""
    return sys.argv[1]


def user(text: str) -> Any:
    """A message."""
    return {"role": "user", "content": text}


def tell(**found: Any) -> None:
    """Print what was found, for the test to read."""
    sys.stdout.write(json.dumps(found) + "\n")
