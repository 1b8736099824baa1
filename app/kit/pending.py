"""What is made in the background, and may not be there yet."""

from collections.abc import Callable
from threading import Event
from typing import Generic, TypeVar

from app.errors import ModelNotReady

T = TypeVar("T")
U = TypeVar("U")


class Pending(Generic[T]):
    """Something that is made in the background and may not be there yet."""

    def __init__(self, reason: str) -> None:
        self._value: T | None = None
        self._reason, self._cause = reason, ""
        self._settled = Event()

    def fill(self, value: T) -> None:
        """Hand over what was made."""
        self._value = value
        self._settled.set()

    def delay(self, reason: str, cause: str) -> None:
        """Say that it will be there later, and to those who run the service, why."""
        self._reason, self._cause = reason, cause

    def fail(self, reason: str, cause: str) -> None:
        """Say that it will never be there, and to those who run the service, why."""
        self.delay(reason, cause)
        self._settled.set()

    def get(self) -> T:
        """What was made.

        Raises:
            ModelNotReady: It is not there yet, or never will be; the message says which.
        """
        if self._value is None:
            raise ModelNotReady(self._reason, cause=self._cause)
        return self._value

    def wait(self, timeout_s: float) -> T | None:
        """What was made, once that is decided; None if it failed or takes longer."""
        self._settled.wait(timeout_s)
        return self._value

    def part(self, of: Callable[[T], U]) -> "Part[T, U]":
        """Something in it, for those who need no more."""
        return Part(self, of)


class Part(Generic[T, U]):
    """A part of something that is made in the background."""

    def __init__(self, whole: Pending[T], of: Callable[[T], U]) -> None:
        self._whole, self._of = whole, of

    def get(self) -> U:
        """The part.

        Raises:
            ModelNotReady: It is not there yet, or never will be; the message says which.
        """
        return self._of(self._whole.get())

    def found(self) -> U | None:
        """The part; None if it is not there."""
        whole = self._whole.wait(0)
        return None if whole is None else self._of(whole)
