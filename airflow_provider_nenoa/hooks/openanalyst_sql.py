"""OpenAnalyst as a database: for every operator and sensor of Airflow that takes SQL."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException, InvalidConnection, NenoaError

try:
    from airflow.providers.common.sql.hooks.sql import DbApiHook
except ImportError as missing:
    raise AirflowOptionalProviderFeatureException(
        "For OpenAnalyst as a database, Airflow's common SQL provider is needed: "
        "pip install 'airflow-provider-nenoa[sql]'."
    ) from missing

from airflow_provider_nenoa.hooks.base import ConnectionSettings, form_behaviour, form_widgets
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Connection

    from airflow_provider_nenoa import dbapi


class OpenAnalystSqlHook(DbApiHook):
    """
    Query one OpenAnalyst dataset by SQL.

    Queries are sent to ``POST /queries``; one that the vendor does not answer at once is waited for, by asking. Values
    for ``:name`` placeholders are bound here: see `binding.bind`. The API cannot write and has no transactions.

    :param openanalyst_sql_conn_id: A connection of type ``openanalyst_sql``: password = API key, schema = dataset id,
        host = base URL if it is not ``https://api.openanalyst.com/v1``. Default ``openanalyst_sql_default``.
    :param schema: The dataset's id, instead of the connection's; what operators call ``database``.
    :param query_timeout: Seconds to wait for one query. Default 24 hours.
    :param poll_interval: Shortest interval in seconds at which a long query is asked for. Default 2.
    :param kwargs: ``log_sql`` of ``DbApiHook``; extra fields of the connection, which operators pass on, are ignored.
    """

    conn_name_attr = "openanalyst_sql_conn_id"
    default_conn_name = "openanalyst_sql_default"
    conn_type = "openanalyst_sql"
    hook_name = "OpenAnalyst SQL"

    def __init__(
        self,
        *args: Any,
        schema: str | None = None,
        query_timeout: float = 86_400.0,
        poll_interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, schema=schema, **kwargs)
        self.schema = schema
        self.query_timeout = query_timeout
        self.poll_interval = poll_interval

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow before 3.2."""
        return form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's behaviour, for Airflow before 3.2."""
        return form_behaviour(cls.conn_type)

    @cached_property
    def api_hook(self) -> OpenAnalystHook:
        """The hook that talks to the API."""
        return _ApiHook(self.get_conn_id())

    @property
    def dataset_id(self) -> str:
        """
        The dataset that is queried.

        :raises InvalidConnection: Neither the connection nor the caller names one.
        """
        dataset_id = self.schema or self.connection.schema
        if not dataset_id:
            raise InvalidConnection(
                f"Connection '{self.get_conn_id()}' names no dataset. Put its id into the connection's schema field, "
                "or into the operator's 'database'."
            )
        return dataset_id

    def get_conn(self) -> dbapi.Connection:
        """Return a PEP 249 connection to the dataset."""
        from airflow_provider_nenoa import dbapi

        return dbapi.connect(
            self.api_hook, self.dataset_id, query_timeout=self.query_timeout, poll_interval=self.poll_interval
        )

    def get_df(  # type: ignore[override]
        self, sql: str, parameters: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """
        Return the rows as a pandas or polars data frame, as ``DbApiHook`` does.

        :param sql: The SQL.
        :param parameters: Values for its ``:name`` placeholders.
        :param kwargs: ``df_type``, ``pandas`` (the default) or ``polars``, and what goes to its reader.
        """
        # Bound here: on the way to polars, ``DbApiHook`` would turn them into keyword arguments of its own.
        return super().get_df(_bound(sql, parameters), **kwargs)

    def get_df_by_chunks(  # type: ignore[override]
        self, sql: str, parameters: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Return data frames of ``chunksize`` rows each, as ``DbApiHook`` does; all rows are in memory all the same."""
        return super().get_df_by_chunks(_bound(sql, parameters), **kwargs)

    def get_sqlalchemy_engine(self, engine_kwargs: Any = None) -> NoReturn:
        """Raise: there is no SQLAlchemy dialect for OpenAnalyst."""
        from airflow_provider_nenoa import dbapi

        raise dbapi.NotSupportedError("There is no SQLAlchemy dialect for OpenAnalyst. Use get_conn, run or get_df.")

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]
        """Ask for the dataset, or for any if the connection names none, for the Test button: costs one request."""
        try:
            if not self.connection.schema:
                return self.api_hook.test_connection()
            self.api_hook.get_dataset(self.connection.schema)
        except NenoaError as error:
            return False, str(error)
        return True, f"OpenAnalyst accepted the API key, and knows dataset {self.connection.schema}."


class _ApiHook(OpenAnalystHook):
    """`OpenAnalystHook` for a connection of the other type, whose schema is a dataset and no part of the URL."""

    conn_type = OpenAnalystSqlHook.conn_type

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        connection = copy.copy(super().get_connection(conn_id))
        connection.schema = None
        return connection

    @cached_property
    def settings(self) -> ConnectionSettings:
        # Queries are asked for, not told of: a webhook secret means nothing here.
        return replace(super().settings, webhook_secret=None)


def _bound(sql: str, parameters: Mapping[str, Any] | None) -> str:
    from airflow_provider_nenoa import dbapi
    from airflow_provider_nenoa.binding import bind
    from airflow_provider_nenoa.exceptions import InvalidArgument

    if parameters is None:
        return sql
    try:
        return bind(sql, parameters)
    except InvalidArgument as error:
        raise dbapi.ProgrammingError(str(error)) from error
