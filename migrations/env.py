"""Runs migrations on the connection that it is handed, in its open transaction."""

from alembic import context

from coordinator.storage.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
