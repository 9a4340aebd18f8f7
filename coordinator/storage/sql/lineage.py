"""Which PostgreSQL a node works with, so that it never goes back to an old primary.

Whoever promotes a standby gives the cluster a new timeline. If the old primary lives
on, or comes back, it still takes writes, and all of them are lost when it is made to
follow the new one. So each new connection is asked for the cluster's system identifier
and its timeline: another cluster than the node began with is refused, and so is an
earlier timeline than the latest that it has seen. Connections of before a promotion are
dropped when the first one of after it is made.

It is what one process has seen: a node that never met the new primary cannot tell, nor
can one that has just started. To shut out the old primary stays the duty of whoever
promotes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from coordinator import telemetry
from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql.failure import code_of

_log = structlog.get_logger(__name__)

_ASK: Final = """
SELECT system_identifier::text,
 CASE WHEN pg_is_in_recovery() THEN 0
 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END
FROM pg_control_system()
"""
_NOT_TOLD: Final = frozenset({"42501", "42883", "0A000"})
"""No right to ask, no such function, not supported: there is nothing to compare."""

_TIMELINE: Final = "tercet_timeline"


@dataclass(frozen=True, slots=True)
class Server:
    """Who answered.

    Attributes:
        cluster: PostgreSQL's system identifier; copies that follow have the same.
        timeline: one more after each promotion; 0 while it follows another server, and
            takes no writes.
    """

    cluster: str
    timeline: int


class Lineage:
    """What the connections of one process have led to.

    Args:
        on_promoted: called when the first connection of a later timeline is made.
    """

    def __init__(self, on_promoted: Callable[[], None]) -> None:
        self._on_promoted = on_promoted
        self._latest: Server | None = None
        self._refused: Server | None = None

    def watch(self, engine: Engine) -> None:
        """Ask each of its connections, and hand out none that is out of date."""

        @event.listens_for(engine, "connect")
        def admit(connection: Any, entry: Any) -> None:
            try:
                if server := _ask(connection):
                    self.admit(server)
            except BaseException:  # the pool would leave it open
                connection.terminate()
                raise
            if server and server.timeline:
                entry.info[_TIMELINE] = server.timeline

        @event.listens_for(engine, "checkout")
        def check(_connection: object, entry: Any, _proxy: object) -> None:
            if not self.is_current(entry.info):
                raise DisconnectionError("the cluster has a new primary")

    def is_current(self, info: dict[Any, Any]) -> bool:
        """Whether a connection with this information is of the latest timeline."""
        timeline = info.get(_TIMELINE)
        return self._latest is None or timeline in (None, self._latest.timeline)

    def admit(self, server: Server) -> None:
        """Take note of who answers.

        Raises:
            StoreUnavailable: it is none that this process may work with.
        """
        latest = self._latest
        if latest is None:
            self._latest = server
        elif server.cluster != latest.cluster:
            self._refuse(
                server,
                "the database's address leads to another cluster than before; let it"
                " lead back, or restart this node if that is meant",
            )
        elif 0 < server.timeline < latest.timeline:
            self._refuse(
                server,
                "the database's address leads to an old primary, whose writes would be"
                " lost; let it lead to the one that was promoted",
            )
        elif server.timeline > latest.timeline:
            self._latest = server
            self._on_promoted()

    def _refuse(self, server: Server, why: str) -> None:
        if server != self._refused:  # each attempt to connect comes here
            self._refused = server
            _log.error(
                telemetry.DATABASE_REFUSED,
                error=why,
                cluster=server.cluster,
                timeline=server.timeline,
            )
        raise StoreUnavailable(why)


def _ask(connection: Any) -> Server | None:
    """Who is at the other end, if it tells."""
    cursor = connection.cursor()
    try:
        cursor.execute(_ASK)
        found = Server(*cursor.fetchone())
    except Exception as error:
        if code_of(error) not in _NOT_TOLD:
            raise
        found = None
    cursor.close()
    connection.rollback()
    return found
