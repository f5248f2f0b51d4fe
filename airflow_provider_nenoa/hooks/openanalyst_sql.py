"""OpenAnalyst as a database: for every operator and sensor of Airflow that takes SQL."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
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

from airflow_provider_nenoa.hooks.base import ConnectionForm, ConnectionSettings
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.sql.inspector import TableInspector
from airflow_provider_nenoa.vendors.arguments import seconds
from airflow_provider_nenoa.vendors.openanalyst_schema import tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta

    from airflow.sdk import Connection

    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.sql import dbapi


class OpenAnalystSqlHook(ConnectionForm, DbApiHook):
    """
    Query one OpenAnalyst dataset by SQL.

    Queries are sent to ``POST /queries``; one that the vendor does not answer at once is waited for, by asking. Values
    for ``:name`` placeholders are bound here: see `binding.bind`. The API cannot write and has no transactions.

    :param openanalyst_sql_conn_id: A connection of type ``openanalyst_sql``: password = API key, schema = dataset id,
        host = base URL if it is not ``https://api.openanalyst.com/v1``. Default ``openanalyst_sql_default``.
    :param schema: The dataset's id, instead of the connection's; what operators call ``database``.
    :param query_timeout: Seconds, or a timedelta, to wait for one query. Default 24 hours.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which a long query is asked for. Default
        2.
    :param allow_partial: Take fewer rows than the vendor says there are. Default: that is an error.
    :param args: The connection's id, as ``DbApiHook`` takes it.
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
        query_timeout: float | timedelta = 86_400.0,
        poll_interval: float | timedelta = 2.0,
        allow_partial: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, schema=schema, **kwargs)
        self.allow_partial = allow_partial
        self.schema = schema
        self.query_timeout = seconds("query_timeout", query_timeout)  # now, not when a query has been sent
        self.poll_interval = seconds("poll_interval", poll_interval)
        self._queries: list[str] = []
        self._query_id: str | None = None

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
                f"Connection '{self.get_conn_id()}' names no dataset.\nPut its id into the connection's schema field, "
                "or into the operator's 'database'."
            )
        return dataset_id

    def get_conn(self) -> dbapi.Connection:
        """Return a PEP 249 connection to the dataset."""
        from airflow_provider_nenoa.sql import dbapi

        dataset_id = self.dataset_id
        return dbapi.connect(lambda query: self._run(dataset_id, query), allow_partial=self.allow_partial)

    def run(  # type: ignore[override]
        self,
        sql: str | Iterable[str],
        autocommit: bool = False,
        parameters: Mapping[str, Any] | None = None,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """
        Run one query or several, as ``DbApiHook`` does.

        :param sql: The SQL, or a list of queries.
        :param autocommit: Without meaning: the API has no transactions.
        :param parameters: Values for its ``:name`` placeholders. Several queries share them; none needs all.
        :param handler: Called with the cursor of each query; what it returns is the result.
        :param split_statements: Whether a text is taken apart at its semicolons. Default False.
        :param return_last: Whether of several queries only the last result is returned. Default True.
        :return: What ``handler`` returned, or a list of that; None without one.
        :raises dbapi.Error: The query failed: see `sql.dbapi`.
        """
        if isinstance(parameters, Mapping) and parameters:  # bound together, so that none is unused by all of them
            if not isinstance(sql, str):
                sql = _bound(list(sql), parameters)
                parameters = None
            elif split_statements:
                (sql,) = _bound([sql], parameters)
                parameters = None
        return super().run(sql, autocommit, parameters, handler, split_statements, return_last)

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
        if parameters is not None:
            (sql,) = _bound([sql], parameters)
        with _own_errors():
            return super().get_df(sql, **kwargs)

    def get_df_by_chunks(  # type: ignore[override]
        self, sql: str, parameters: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Return data frames of ``chunksize`` rows each, as ``DbApiHook`` does; all rows are in memory all the same."""
        if parameters is not None:
            (sql,) = _bound([sql], parameters)
        return _with_own_errors(super().get_df_by_chunks(sql, **kwargs))

    def get_sqlalchemy_engine(self, engine_kwargs: Any = None) -> NoReturn:
        """Raise: there is no SQLAlchemy dialect for OpenAnalyst."""
        from airflow_provider_nenoa.sql import dbapi

        raise dbapi.NotSupportedError("There is no SQLAlchemy dialect for OpenAnalyst.\nUse get_conn, run or get_df.")

    @cached_property
    def inspector(self) -> TableInspector:  # type: ignore[override]
        """The dataset's tables and columns, by the names that SQLAlchemy's inspector has for them."""
        return TableInspector(tables_of(self.api_hook.get_dataset(self.dataset_id)))

    def get_openlineage_database_specific_lineage(self, task_instance: Any) -> Any:
        """
        Return what an Airflow SQL operator has read, for OpenLineage: the tables, their columns, the query's id.

        ``get_openlineage_database_info``, the usual way, stays as it is and says nothing: with it, Airflow's operators
        ask for a SQLAlchemy engine, and then the vendor for an ``information_schema`` that its pages do not name.

        The columns are in ``GET /datasets/{id}``: that is asked once, and without it the tables have no columns.
        """
        sql = getattr(getattr(task_instance, "task", None), "sql", None) or self._queries
        if not sql or not all(isinstance(query, str) for query in ([sql] if isinstance(sql, str) else sql)):
            return None
        from airflow_provider_nenoa.lineage.queries import ReadQueries

        read = ReadQueries(sql, self.dataset_id, self.api_hook.settings.base_url)
        return read.lineage(self.api_hook.known_schema(self.dataset_id), self._query_id)

    def _run(self, dataset_id: str, query: str) -> Run:
        """Run a query to its end, however it may end."""
        run = self._run_to_its_end(dataset_id, query)
        self._queries.append(query)
        self._query_id = run.run_id if len(self._queries) == 1 else None  # a task has one such id in lineage, or none
        return run

    def _run_to_its_end(self, dataset_id: str, query: str) -> Run:
        from airflow_provider_nenoa.exceptions import DeadlinePassed
        from airflow_provider_nenoa.pacing import blocking
        from airflow_provider_nenoa.sql import dbapi

        started_at = time.time()
        run = self.api_hook.execute_query(dataset_id, query)
        if run.status.is_end:
            return run
        try:
            ended, _ = blocking.wait(
                listen=None,
                poll=lambda: self.api_hook.get_query_results(run.run_id),
                budget=self.api_hook.new_budget(),
                deadline=started_at + self.query_timeout,
                poll_interval=self.poll_interval,
                started_at=started_at,
            )
        except DeadlinePassed as passed:
            raise dbapi.OperationalError(
                f"OpenAnalyst query {run.run_id} did not end within query_timeout = {self.query_timeout:g} s; its "
                f"last status is '{passed}'.\nIt goes on, because the API cannot cancel it."
            ) from None
        return ended

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


def _bound(queries: list[str], parameters: Mapping[str, Any]) -> list[str]:
    from airflow_provider_nenoa.exceptions import InvalidArgument
    from airflow_provider_nenoa.sql import dbapi
    from airflow_provider_nenoa.sql.binding import bind_each

    try:
        return bind_each(queries, parameters)
    except InvalidArgument as error:
        raise dbapi.ProgrammingError(str(error)) from error


@contextmanager
def _own_errors() -> Iterator[None]:
    """
    Raise our own error where a library has put one of its own in its place.

    pandas 2 catches whatever a query raises, asks for a rollback, and raises an error that Airflow would retry.
    """
    from airflow_provider_nenoa.sql import dbapi

    outer = sys.exception()  # of another query, if this one is asked because that one failed
    try:
        yield
    except Exception as error:
        first: dbapi.Error | None = None
        cause: BaseException | None = error
        while cause is not None and cause is not outer:
            first = cause if isinstance(cause, dbapi.Error) else first
            cause = cause.__cause__ or cause.__context__
        if first is None or first is error:
            raise
        raise first from first.__cause__


def _with_own_errors(frames: Iterable[Any]) -> Iterator[Any]:
    with _own_errors():
        yield from frames
