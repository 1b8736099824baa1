"""Who waits for the end of an operation, and the one who looks for all of them."""

import asyncio
from collections import Counter
from collections.abc import Collection

import anyio.to_thread

from app.database.database import Database
from app.database.following import Follower
from app.errors import DatabaseUnavailable
from app.kit.logs import get_logger
from app.operations import repository

_LOOK_EVERY_S = 0.5  # for what other processes commit
_log = get_logger(__name__)


class Endings(Follower):
    """Asks the database for all who wait at once, each time something is committed.

    A request that waits holds no thread and no connection.

    Args:
        database: Where operations are; its commits in this process have it look.
        look_every_s: How often it looks although nothing was committed here, in seconds.
    """

    def __init__(self, database: Database, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        super().__init__(database, look_every_s)
        self._awaited = Counter[str]()
        self._seen = asyncio.Event()
        self._ended = frozenset[str]()

    def close(self) -> None:
        """Let everybody go; call it on the event loop."""
        super().close()
        self._tell(frozenset())

    async def has_come(self, operation_id: str, wait_s: float) -> bool:
        """Wait for an operation's end, at most `wait_s`; whether it came."""
        self._awaited[operation_id] += 1
        self._rung.set()  # it may have ended already
        try:
            async with asyncio.timeout(wait_s):
                while not self.is_closed:
                    await self._seen.wait()
                    if operation_id in self._ended:
                        return True
        except TimeoutError:
            pass
        finally:
            self._awaited -= Counter([operation_id])
        return False

    @property
    def _is_needed(self) -> bool:
        return bool(self._awaited)

    async def _look(self) -> None:
        if not self._awaited:
            return
        try:
            ended = await anyio.to_thread.run_sync(_ended_among, self._database, [*self._awaited])
        except DatabaseUnavailable as error:
            _log.warning("endings_not_seen", error=str(error))
        else:
            if ended:
                self._tell(ended)

    def _tell(self, ended: frozenset[str]) -> None:
        self._ended = ended
        seen, self._seen = self._seen, asyncio.Event()
        seen.set()


def _ended_among(database: Database, ids: Collection[str]) -> frozenset[str]:
    with database.read() as session:
        return frozenset(repository.ended(session, ids))
