"""
Brings the event tables into a database, and checks that they are those that this code knows.

In Airflow's own database ``airflow db migrate`` makes and alters them (`db_manager`), and a receiver only looks: its
user need not have the right to. Where nobody runs a manager, the first receiver that needs the tables does the same.
"""

from __future__ import annotations

import threading
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import NenoaError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Engine

MIGRATIONS = Path(__file__).parent / "migrations"
ALEMBIC_INI = Path(__file__).parent / "alembic.ini"
VERSION_TABLE = "nenoa_alembic_version"

_one_at_a_time = threading.Lock()  # Alembic keeps what it works on in global variables


class WrongSchema(NenoaError):
    """The event tables are not there, or not those that this version of the provider knows."""


def check(engine: Engine) -> None:
    """
    Make sure that the event tables are there and current, where others make them.

    :raises WrongSchema: They are not.
    """
    with _one_at_a_time:
        if not _is_current(engine):
            _, revision = _head_and_revision(engine)
            state = "are not there" if revision is None else f"are of an older version ({revision})"
            raise WrongSchema(
                f"The event tables {state}.\nRun `airflow db migrate`, with this version of airflow-provider-nenoa "
                "installed; this server then finds them without a restart."
            )


def make(engine: Engine) -> None:
    """
    Make the event tables, or bring them up to date, where nobody else does.

    :raises WrongSchema: A newer version of the provider has altered them.
    :raises sqlalchemy.exc.DBAPIError: The database refused, or somebody else did the same at the same time.
    """
    from alembic import command

    with _one_at_a_time:
        if _is_current(engine):
            return
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def sql(dialect: str) -> str:
    """Return the SQL that makes the event tables where there are none, for a database of this dialect."""
    from alembic import command

    config = _config()
    config.output_buffer = StringIO()
    config.set_main_option("sqlalchemy.url", f"{dialect}://")
    with _one_at_a_time:
        command.upgrade(config, "head", sql=True)
    return config.output_buffer.getvalue()


def _is_current(engine: Engine) -> bool:
    head, revision = _head_and_revision(engine)
    if revision not in (None, *_known()):
        raise WrongSchema(
            f"The event tables are of a version ({revision}) that this version of airflow-provider-nenoa does not "
            f"know; it knows {head}.\nInstall the newer version that made them, or go back with its migrations."
        )
    return revision == head


def _head_and_revision(engine: Engine) -> tuple[str | None, str | None]:
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return _scripts().get_current_head(), context.get_current_revision()


def _known() -> list[str]:
    return [script.revision for script in _scripts().walk_revisions()]


def _scripts() -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    from alembic.config import Config

    return Config(ALEMBIC_INI)
