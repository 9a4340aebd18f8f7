"""How a database is met that speaks PostgreSQL's language.

SQLAlchemy's own way asks each new connection about types that no table here has, and
the server for a version that only PostgreSQL itself gives in that form; others end
the connection over it.
"""

from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

DRIVER: Final = "postgresql+tercet"

_LANGUAGE: Final = (14,)
"""The oldest that is supported; nothing newer is used, whatever the server has."""


class PlainDialect(PGDialect_asyncpg):
    """PostgreSQL's dialect over asyncpg, without what is asked in vain."""

    supports_statement_cache = True

    async def setup_asyncpg_json_codec(self, conn: Any) -> None:
        """No column holds JSON."""

    async def setup_asyncpg_jsonb_codec(self, conn: Any) -> None:
        """Nor this."""

    def _get_server_version_info(self, _connection: Connection) -> tuple[int, ...]:
        return _LANGUAGE


registry.register("postgresql.tercet", __name__, PlainDialect.__name__)
