"""How the tables of a database stand to this version."""

from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, inspect, text

import coordinator

VERSION_TABLE = "alembic_version"


class SchemaState(StrEnum):
    """How the tables of a database stand to this version."""

    EMPTY = "EMPTY"
    CURRENT = "CURRENT"
    BEHIND = "BEHIND"
    AHEAD = "AHEAD"


def migrations_folder() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    package = Path(coordinator.__file__).parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def migration_names() -> list[str]:
    """All migrations of this version, in order; a name's number is its revision."""
    versions = migrations_folder() / "versions"
    return sorted(path.stem for path in versions.glob("[0-9][0-9][0-9][0-9]_*.py"))


def missing_migrations(revision: str | None) -> list[str]:
    """Those that come after a revision."""
    return [
        name
        for name in migration_names()
        if revision is None or name.partition("_")[0] > revision
    ]


def stored_revision(connection: Connection) -> str | None:
    """The last migration that was carried out as a whole."""
    if not has_table(connection, VERSION_TABLE):
        return None
    row = connection.exec_driver_sql(
        f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - a constant
    ).first()
    return str(row[0]) if row else None


def has_table(connection: Connection, name: str) -> bool:
    """Whether there is such a table."""
    if connection.dialect.name == "sqlite":
        return inspect(connection).has_table(name)
    # SQLAlchemy's own way asks for what only PostgreSQL's catalogue has.
    schema = "DATABASE()" if connection.dialect.name == "mysql" else "current_schema()"
    found = connection.scalar(
        text(
            "SELECT COUNT(*) FROM information_schema.tables"  # noqa: S608 - a constant
            f" WHERE table_schema = {schema} AND table_name = :name"
        ),
        {"name": name},
    )
    return bool(found)


def state_of(revision: str | None) -> SchemaState:
    """What a stored revision says to this version."""
    known = [name.partition("_")[0] for name in migration_names()]
    if revision is None:
        return SchemaState.EMPTY
    if revision not in known:
        return SchemaState.AHEAD
    return SchemaState.CURRENT if revision == known[-1] else SchemaState.BEHIND
