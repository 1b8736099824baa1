"""One server over HTTP: what is sent, what comes back, and what went wrong on the way."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from pydantic import ValidationError

from app.client.answers import (
    UNFINISHED,
    Answer,
    Edit,
    EditPage,
    Export,
    ExportPage,
    KeyPage,
    LedgerPage,
    Operation,
    RevisionPage,
    SnapshotPage,
)
from app.client.errors import Damaged, RateLimited, Refused, ServerAway, StillWaiting

DEFAULT_URL = "http://127.0.0.1:8000"

A = TypeVar("A", bound=Answer)
Job = TypeVar("Job", Edit, Operation, Export)
Words = TypeVar("Words", Edit, Operation)
Page = TypeVar("Page", EditPage, RevisionPage, SnapshotPage, LedgerPage, ExportPage, KeyPage)

#: how many items are asked for at a time
PAGE = 500

_TIMEOUT_S = 120.0  # a long completion on a small machine
_CONNECT_S = 5.0
_POLL_S = 0.2


class Connection:
    """What every part of the client asks through; arguments and errors are those of `Errata`.

    The rest of this package may call its private methods, and nobody else.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        http: httpx2.Client | None = None,
    ) -> None:
        timeout = httpx2.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
        self._http = http or httpx2.Client(base_url=base_url, timeout=timeout)
        if api_key is not None:
            self._http.headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _ended(
        self,
        path: str,
        kind: type[Job],
        timeout_s: float,
        told: Callable[[Job], None] | None = None,
    ) -> Job:
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._get(path, kind)
            if told is not None:
                told(found)
            if found.status not in UNFINISHED:
                return found
            if time.monotonic() > deadline:
                raise StillWaiting(found.id, found.status, timeout_s)
            time.sleep(_POLL_S)

    def _erased(self, path: str, kind: type[Words], timeout_s: float) -> Words:
        deadline = time.monotonic() + timeout_s
        while (found := self._get(path, kind)).erased_at is None:
            if time.monotonic() > deadline:
                raise StillWaiting(found.id, "being erased", timeout_s)
            time.sleep(_POLL_S)
        return found

    def _pages(self, path: str, kind: type[Page], **query: str | None) -> Iterator[Page]:
        after: str | int | None = None
        while True:
            sent = {"after": after, "limit": PAGE, **query}
            page = self._get(path, kind, {k: v for k, v in sent.items() if v is not None})
            yield page
            after = page.next
            if after is None:
                return

    def _get(self, path: str, kind: type[A], query: dict[str, Any] | None = None) -> A:
        return self._ask(self._http.build_request("GET", path, params=query), kind)

    def _post(
        self, path: str, body: object, kind: type[A], idempotency_key: str | None = None
    ) -> A:
        headers = _named(idempotency_key)
        return self._ask(self._http.build_request("POST", path, json=body, headers=headers), kind)

    def _withdraw(self, path: str, kind: type[A], idempotency_key: str | None) -> A:
        headers = _named(idempotency_key)
        return self._ask(self._http.build_request("DELETE", path, headers=headers), kind)

    def _delete(self, path: str, idempotency_key: str | None) -> None:
        request = self._http.build_request("DELETE", path, headers=_named(idempotency_key))
        with self._away_named():
            response = self._http.send(request)
        if not response.is_success:
            raise self._problem(response)

    def _fetch(self, path: str, to: Path, *, digest: str | None = None) -> None:
        """Store what is sent in a file, which appears once it is whole and has the digest."""
        request = self._http.build_request("GET", path)
        partial, found = to.with_name(to.name + ".partial"), hashlib.sha256()
        try:
            with self._away_named():
                response = self._http.send(request, stream=True)
                with closing(response), partial.open("wb") as file:
                    if not response.is_success:
                        response.read()
                        raise self._problem(response)
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                        found.update(chunk)
            if digest is not None and digest != found.hexdigest():
                raise Damaged(path, digest, found.hexdigest())
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def _ask(self, request: httpx2.Request, kind: type[A]) -> A:
        with self._away_named():
            response = self._http.send(request)
        if not response.is_success:
            raise self._problem(response)
        try:
            return kind.model_validate(response.json())
        except (ValueError, ValidationError) as error:
            raise self._alien(response) from error

    @contextmanager
    def _away_named(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise ServerAway(str(self._http.base_url), _cause(error)) from error

    def _problem(self, response: httpx2.Response) -> Refused | ServerAway:
        """What an answer other than success says."""
        try:
            found = response.json()["error"]
            if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
                seconds = int(response.headers["Retry-After"])
                return RateLimited(found["code"], found["message"], seconds)
            return Refused(response.status_code, found["code"], found["message"], found["param"])
        except (ValueError, KeyError, TypeError):
            return self._alien(response)

    def _alien(self, response: httpx2.Response) -> ServerAway:
        told = f"{response.request.url.path} answered {response.status_code}"
        return ServerAway(str(self._http.base_url), told)


def _named(idempotency_key: str | None) -> dict[str, str]:
    """The header that gives a request a name, by which it may be sent again."""
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


def _cause(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
