"""What ``airflow db migrate`` runs for the event tables: from Airflow 3.2 by the provider's metadata."""

from __future__ import annotations

from typing import Any

from airflow.utils.db_manager import BaseDBManager
from alembic import command

from airflow_provider_nenoa.webhooks.schema import ALEMBIC_INI, MIGRATIONS, VERSION_TABLE
from airflow_provider_nenoa.webhooks.tables import metadata


class NenoaDBManager(BaseDBManager):
    """
    Makes, alters and drops the event tables in Airflow's own database, always step by step.

    Airflow 3.0 and 3.1 find it if ``[database] external_db_managers`` names it.
    """

    metadata = metadata
    version_table_name = VERSION_TABLE
    migration_dir = MIGRATIONS.as_posix()
    alembic_file = ALEMBIC_INI.as_posix()
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "5b90c64d21af"}
    """The last step of each version of the provider."""

    def initdb(self, use_migration_files: bool = False) -> None:
        """Make the tables."""
        self.upgradedb()

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """
        Go forward to a revision.

        :param to_revision: Default: the newest.
        :param from_revision: The revision that the SQL that is shown begins with. Default: an empty database.
        :param show_sql_only: Show the SQL and run nothing.
        """
        self._apply(command.upgrade, to_revision or "head", from_revision, show_sql_only)

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:
        """
        Go back to a revision; ``base`` drops all tables and events.

        :param to_revision: The revision.
        :param from_revision: The revision that the SQL that is shown begins with. Default: the newest.
        :param show_sql_only: Show the SQL and run nothing.
        """
        self._apply(command.downgrade, to_revision, from_revision or "head", show_sql_only)

    def _apply(self, move: Any, to_revision: str, from_revision: str | None, show_sql_only: bool) -> None:
        # MySQL: a transaction that has read a table locks it against changes.
        self.session.commit()
        if show_sql_only and from_revision:
            to_revision = f"{from_revision}:{to_revision}"
        move(self.get_alembic_config(), to_revision, sql=show_sql_only)
