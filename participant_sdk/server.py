"""How a connection to PostgreSQL, MariaDB or MySQL is set up for a participant."""

from typing import Any

from sqlalchemy import Connection, Engine, event

LOCK_SECONDS_MAX = 5
"""How long a statement waits for another transaction's lock; then the call runs again,
and in the end it is asked again. MariaDB waits for 50 s by itself, PostgreSQL for ever,
and each wait holds one of the engine's connections."""

_SETTINGS = {
    "postgresql": (
        "SET default_transaction_isolation = 'read committed'",
        f"SET lock_timeout = '{LOCK_SECONDS_MAX:d}s'",
    ),
    "mysql": (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS_MAX:d}",
        f"SET SESSION lock_wait_timeout = {LOCK_SECONDS_MAX:d}",
    ),
}
SERVERS = frozenset({"postgresql", "mysql", "mariadb"})
"""SQLAlchemy's names of them."""


def prepare_server(engine: Engine) -> None:
    """Open every connection of ``engine`` at READ COMMITTED, with a bound on waits.

    ``Participant`` calls it. An ``isolation_level`` of the engine's own, and listeners
    of yours, come later and win. Twice does no harm.
    """
    is_postgresql = engine.dialect.name == "postgresql"
    listener = _configure_postgresql if is_postgresql else _configure_mysql
    if not event.contains(engine, "connect", listener):
        event.listen(engine, "connect", listener, insert=True)
        if not engine.dialect.is_async:
            # Idle connections were opened before anybody listened.
            engine.dispose()


def commits_by_itself(connection: Connection) -> bool:
    """Each statement would be a transaction of its own (``AUTOCOMMIT``)."""
    driver_connection = connection.connection.dbapi_connection
    if driver_connection is None or connection.dialect.name not in SERVERS:
        return False  # SQLite's driver is told when to begin
    return connection.dialect.detect_autocommit_setting(driver_connection)


def _configure(driver_connection: Any, statements: tuple[str, ...]) -> None:
    cursor = driver_connection.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.close()
    # PostgreSQL takes back what was set in a transaction that is rolled back.
    driver_connection.commit()


def _configure_postgresql(driver_connection: Any, _record: object) -> None:
    _configure(driver_connection, _SETTINGS["postgresql"])


def _configure_mysql(driver_connection: Any, _record: object) -> None:
    _configure(driver_connection, _SETTINGS["mysql"])
