"""The tables and columns of a dataset, for whoever explores a database before querying it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_nenoa.vendors.openanalyst_schema import Column


class TableInspector:
    """
    As much of SQLAlchemy's inspector as a dataset can answer.

    :param tables: The columns of each table, by the tables' names.
    """

    def __init__(self, tables: Mapping[str, Sequence[Column]]) -> None:
        self._tables = tables

    def get_table_names(self, schema: str | None = None, **kwargs: Any) -> list[str]:
        """Return the tables' names; a dataset has no schemas, and ``schema`` is ignored."""
        return list(self._tables)

    def get_columns(self, table_name: str, schema: str | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """
        Return a table's columns: ``name``, and ``type``, the vendor's word, ``unknown`` if it gave none.

        :raises NotSupportedError: The vendor tells of no such table.
        """
        if table_name not in self._tables:
            from airflow_provider_nenoa.sql.dbapi import NotSupportedError

            known = ", ".join(self._tables) or "none in a form that can be read"
            raise NotSupportedError(
                f"OpenAnalyst tells of no table '{table_name}' in this dataset.\nThe tables that it tells of: {known}."
            )
        return [{"name": column.name, "type": column.type or "unknown"} for column in self._tables[table_name]]
