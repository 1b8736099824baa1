"""Listening to a server: every event once and in order, whatever becomes of the connection."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import httpx2

from app.client.answers import Answer, Status
from app.client.errors import ClientError, ServerAway

_RETRY_S = 1.0
_PATIENCE_S = 120.0  # with a server that answered before: it may be restarting
_LATER = (429, 502, 503, 504)  # answers to one who is to come back

Problem = Callable[[httpx2.Response], ClientError]
"""Makes an error of an answer other than success."""


class Event(Answer):
    """An operation, or its edit, has another status now; `number` is what to resume after.

    `edit` is the same id where it is an edit, and None for a revert or a rollback.
    """

    number: int
    kind: Literal["edit", "revert", "rollback"]
    operation: str
    edit: str | None
    status: Status
    at: str
    revision: int | None
    reason: str | None


@dataclass
class _Frame:
    """One block of a stream; without data it only says where the stream is."""

    event: str = ""
    id: int | None = None
    data: str = ""


def follow(http: httpx2.Client, path: str, after: int | None, problem: Problem) -> Iterator[Event]:
    """The events of a stream until it ends, connecting again after each break.

    Args:
        http: Where the server is.
        path: Which stream.
        after: The newest event that is known; None for where the server begins.
        problem: Makes an error of an answer other than success.

    Raises:
        ServerAway: Nothing answers, or no longer does for two minutes.
        Refused: The server tells this client nothing.
    """
    patient_until = 0.0
    while True:
        try:
            with closing(_open(http, path, after)) as response:
                if response.status_code == httpx2.codes.NO_CONTENT:
                    return
                is_final = response.status_code not in _LATER or time.monotonic() > patient_until
                if is_final and not _is_stream(response):
                    response.read()
                    raise problem(response)
                for frame in _frames(response):
                    after = after if frame.id is None else frame.id
                    if frame.event == "end":
                        return
                    if frame.data:
                        yield Event.model_validate_json(frame.data)
                    patient_until = time.monotonic() + _PATIENCE_S
        except httpx2.TransportError as error:
            if time.monotonic() > patient_until:
                raise ServerAway(str(http.base_url), str(error) or type(error).__name__) from error
        time.sleep(_RETRY_S)


def _open(http: httpx2.Client, path: str, after: int | None) -> httpx2.Response:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    return http.send(http.build_request("GET", path, headers=headers), stream=True)


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("Content-Type", "").startswith("text/event-stream")


def _frames(response: httpx2.Response) -> Iterator[_Frame]:
    if not _is_stream(response):
        return
    frame = _Frame()
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            frame.event = value
        elif name == "id":
            frame.id = int(value)
        elif name == "data":
            frame.data = value
        elif not line:
            yield frame
            frame = _Frame()
