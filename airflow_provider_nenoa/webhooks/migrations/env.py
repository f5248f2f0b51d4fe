"""What Alembic runs for each of its commands: it connects, and applies the steps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from alembic import context

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.webhooks.schema import VERSION_TABLE
from airflow_provider_nenoa.webhooks.tables import metadata


def _is_ours(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    return kind != "table" or name in metadata.tables


_options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table": VERSION_TABLE,
    "include_object": _is_ours,
    "render_as_batch": True,  # SQLite alters no table: Alembic makes it anew
    "compare_type": True,
}

if context.is_offline_mode():  # SQL is shown, not run
    url = context.config.get_main_option("sqlalchemy.url")
    context.configure(url=url, literal_binds=True, **_options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with ExitStack() as stack:
        connection = context.config.attributes.get("connection")
        if connection is None:
            connection = stack.enter_context(airflow_internals.metadata_engine().connect())
        context.configure(connection=connection, **_options)
        with context.begin_transaction():
            context.run_migrations()
