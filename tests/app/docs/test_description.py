"""The API's description: made once, and never on the event loop."""

import asyncio
import threading
from typing import Any

from app.docs.description import Description


def test_it_is_made_once_and_not_on_the_event_loop() -> None:
    makers = list[threading.Thread]()

    def make() -> dict[str, Any]:
        makers.append(threading.current_thread())
        return {"info": "naïve"}

    async def ask() -> list[bytes]:
        description = Description(make)
        first = await asyncio.gather(*(description.content() for _ in range(20)))
        return [*first, await description.content()]

    assert set(asyncio.run(ask())) == {'{"info":"naïve"}'.encode()}
    assert len(makers) == 1
    assert makers[0] is not threading.current_thread()


def test_a_client_that_leaves_does_not_take_it_from_others() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def make() -> dict[str, Any]:
        begun.set()
        may_end.wait()
        return {}

    async def ask() -> bytes:
        description = Description(make)
        leaver = asyncio.create_task(description.content())
        await asyncio.to_thread(begun.wait)
        leaver.cancel()
        staying = asyncio.create_task(description.content())
        await asyncio.sleep(0)
        may_end.set()
        return await staying

    assert asyncio.run(ask()) == b"{}"
