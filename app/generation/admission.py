"""Which prompt may begin next: a bounded number of slots, shared out fairly."""

from collections import deque

from app.generation.engine import Prompt
from app.generation.request import EngineRequest


class Admission:
    """Hands out slots; requests take turns, and one that fits is never overtaken for ever.

    Args:
        slots: Most continuations at the same time, at least as many as one prompt may need.
            One request has half of them at most, whatever the length of its list of prompts.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._share = slots // 2
        self._waiting = deque[EngineRequest]()

    @property
    def waiting(self) -> bool:
        """Whether prompts may be waiting to begin."""
        return bool(self._waiting)

    def add(self, request: EngineRequest) -> None:
        """Let a request queue up."""
        self._waiting.append(request)

    def admit(self) -> tuple[EngineRequest, Prompt] | None:
        """The next prompt to begin, with its slots taken; None if none can begin now."""
        for _ in range(len(self._waiting)):
            request = self._waiting[0]
            if request.abandoned or not request.prompts:
                self._waiting.popleft()
                continue
            slots = request.prompts[0].slots
            if request.slots and request.slots + slots > self._share:
                self._waiting.rotate(-1)
                continue
            if slots > self._free:
                return None  # it stays first: smaller ones must not pass it by
            self._waiting.rotate(-1)
            self._free -= slots
            request.slots += slots
            return request, request.prompts.popleft()
        return None

    def release(self, request: EngineRequest, slots: int) -> None:
        """Take back slots of a request."""
        self._free += slots
        request.slots -= slots
