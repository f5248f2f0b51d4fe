"""Tables and columns of a dataset, as tools that explore a database ask for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.hooks.openanalyst_sql import OpenAnalystSqlHook
from airflow_provider_nenoa.sql import dbapi


def test_tables_and_columns_are_asked_for_once(emulator: Emulator, connect: Callable[..., str]) -> None:
    hook = OpenAnalystSqlHook(connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_abc123"))
    assert hook.inspector.get_table_names(schema=None) == ["sales"]
    columns = {column["name"]: column["type"] for column in hook.get_table_schema("sales")}
    assert {"region", "quantity"} <= set(columns)
    assert all(isinstance(kind, str) and kind for kind in columns.values())
    with pytest.raises(dbapi.NotSupportedError, match=r"no table 'other' in this dataset\.\n.*: sales\."):
        hook.get_table_schema("other")
    assert [request["path"] for request in emulator.control.requests()] == ["/v1/datasets/ds_abc123"]
