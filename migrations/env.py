"""Runs migrations on the connection that it is handed, in its open transaction.

Without one it writes their statements down, for the dialect that it is told.
"""

from alembic import context

from coordinator.storage.sql.tables import METADATA

connection = context.config.attributes["connection"]
if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=METADATA,
        literal_binds=True,
    )
else:
    context.configure(
        connection=connection, target_metadata=METADATA, transactional_ddl=True
    )
context.run_migrations()
