"""The API's description for programs: an OpenAPI document."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

Describe = Callable[[], dict[str, Any]]
"""Makes an OpenAPI document."""


def tell_scopes(document: dict[str, Any]) -> None:
    """Say in words which scopes an operation needs: Swagger UI shows none for a bearer key."""
    for operations in document["paths"].values():
        for operation in operations.values():
            scopes = [name for needs in operation.get("security", []) for name in needs["ApiKey"]]
            if scopes:
                named = " or ".join(f"`{scope}`" for scope in scopes)
                told = operation.get("description", "")
                operation["description"] = f"{told}\n\nScope: {named}.".lstrip()


class Description:
    """The document as it is sent, made once, when it is first asked for.

    It takes a second to make, and a stranger may ask: the event loop has others to serve.

    Args:
        make: Makes the document.
    """

    def __init__(self, make: Describe) -> None:
        self._make = make
        self._making: asyncio.Task[bytes] | None = None

    async def content(self) -> bytes:
        """The document in JSON."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._made), name="description")
        return await asyncio.shield(self._making)

    def _made(self) -> bytes:
        return json.dumps(self._make(), ensure_ascii=False, separators=(",", ":")).encode()
