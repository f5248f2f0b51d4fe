"""Operators for OpenAnalyst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_nenoa.operators import exported
from airflow_provider_nenoa.operators.base import POLL_INTERVAL, TIMEOUT, one_of
from airflow_provider_nenoa.operators.openanalyst_base import (
    CONN_ID,
    OpenAnalystRunOperator,
    id_of,
    id_to_check,
)
from airflow_provider_nenoa.triggers import positive_seconds, whole_number, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.http.large import ReadLarge
    from airflow_provider_nenoa.operators.openanalyst_export import OpenAnalystExportOperator
    from airflow_provider_nenoa.operators.openanalyst_objects import (
        OpenAnalystGetDatasetOperator,
        OpenAnalystGetReportOperator,
        OpenAnalystListDashboardsOperator,
        OpenAnalystListDatasetsOperator,
        OpenAnalystListReportsOperator,
    )
    from airflow_provider_nenoa.runs import Run

__all__ = [
    "OpenAnalystExecuteQueryOperator",
    "OpenAnalystExportOperator",
    "OpenAnalystGetDatasetOperator",
    "OpenAnalystGetReportOperator",
    "OpenAnalystListDashboardsOperator",
    "OpenAnalystListDatasetsOperator",
    "OpenAnalystListReportsOperator",
    "OpenAnalystRunAgentOperator",
]
__getattr__ = exported(
    __name__,
    OpenAnalystExportOperator="openanalyst_export",
    OpenAnalystGetDatasetOperator="openanalyst_objects",
    OpenAnalystGetReportOperator="openanalyst_objects",
    OpenAnalystListDashboardsOperator="openanalyst_objects",
    OpenAnalystListDatasetsOperator="openanalyst_objects",
    OpenAnalystListReportsOperator="openanalyst_objects",
)

OUTPUT_FORMATS = ("jsonl", "csv", "parquet")


class OpenAnalystRunAgentOperator(OpenAnalystRunOperator):
    """
    Give an OpenAnalyst agent a task and return its answer.

    What can be asked depends on which of the vendor's two references the workspace speaks, which the connection's
    ``api_form`` says: ``api`` or ``server``. An argument that it has no place for is refused before anything is sent.

    Returns a dict: ``run_id``, ``agent_id``, ``status`` (the vendor's word), ``final_answer`` (where the vendor names
    one, else None) and ``result`` (the vendor's whole payload about the ended run, every field it sent).

    :param task_prompt: What it is asked to do, in words. (templated)
    :param agent_id: The agent. Form ``api``; in the form ``server`` there is one agent only, and this is not sent.
        (templated)
    :param context: Data for it: a dict, or the text of a JSON object. Values may be what upstream tasks return.
        Form ``api`` only. (templated)
    :param dataset_ids: The datasets that it may use. Form ``server`` only. (templated)
    :param model: The model that it uses. Form ``server`` only. Default: the vendor's own. (templated)
    :param max_steps: How many steps it may take. Form ``server`` only. Default: the vendor's own.
    :param extra_body: Fields to add to the request's body, for what the vendor takes and this operator does not: a
        dict, or the text of a JSON object. A field that is set otherwise is refused. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the vendor is asked, where no
        webhook tells the end; it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left. Default True.
    :param on_lost_start: ``fail`` (the default) or ``restart`` when a start's reply was lost: see `RunOperator`.
    :param on_changed_arguments: ``adopt`` (the default) or ``restart`` when an open run was asked for something else:
        see `RunOperator`.
    :param kwargs: Those of every operator.
    """

    kind_name = "agent"
    id_key = "run_id"
    template_fields: Sequence[str] = (
        "agent_id",
        "task_prompt",
        "context",
        "dataset_ids",
        "model",
        "extra_body",
        "openanalyst_conn_id",
    )
    sent_untemplated = ("max_steps",)
    template_fields_renderers = {"context": "json", "extra_body": "json"}
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        task_prompt: str,
        agent_id: str | None = None,
        context: Mapping[str, Any] | str | None = None,
        dataset_ids: Sequence[str] | None = None,
        model: str | None = None,
        max_steps: int | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        openanalyst_conn_id: str = CONN_ID,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = POLL_INTERVAL,
        timeout: float | timedelta = TIMEOUT,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        on_changed_arguments: Literal["adopt", "restart"] = "adopt",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            deferrable=deferrable,
            wait_for_completion=wait_for_completion,
            poll_interval=poll_interval,
            timeout=timeout,
            durable=durable,
            on_lost_start=on_lost_start,
            on_changed_arguments=on_changed_arguments,
            extra_body=extra_body,
            openanalyst_conn_id=openanalyst_conn_id,
            **kwargs,
        )
        self.agent_id = agent_id
        self.task_prompt = task_prompt
        self.context = context
        self.dataset_ids = dataset_ids
        self.model = model
        self.max_steps = None if max_steps is None else whole_number("max_steps", max_steps)

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.vendors.arguments import required

        required("task_prompt", self.task_prompt)
        self.form.agent(self.agent_id, self.task_prompt, **self._options())
        if self.agent_id is not None and self.form.name == "server":
            self.log.warning("The connection's api_form is 'server', which names no agent: 'agent_id' is not sent.")

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the agent."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        return hook.run_agent(
            self.agent_id, self.task_prompt, **self._options(), webhook_url=callback_url, before_send=before_send
        )

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Return what OpenAnalyst sent."""
        from airflow_provider_nenoa.vendors.openanalyst import final_answer

        return {
            "run_id": run.run_id,
            "agent_id": self.agent_id,
            "status": run.word,
            "final_answer": final_answer(run.payload),
            "result": run.payload,
        }

    def _options(self) -> dict[str, Any]:
        return {
            "context": self.json_argument("context"),
            "dataset_ids": self.dataset_ids,
            "model": self.model,
            "max_steps": self.max_steps,
            "extra_body": self.json_argument("extra_body"),
        }


class OpenAnalystExecuteQueryOperator(OpenAnalystRunOperator):
    """
    Run a query over an OpenAnalyst dataset, in SQL or in words, and return its rows.

    The vendor answers a quick query with its rows at once; a long one is waited for.

    Returns a dict: ``columns`` (list of names), ``row_count``, ``rows`` (list of dicts) and ``result`` (what else the
    vendor sent, such as ``execution_time_ms``); with ``output_path``, instead of ``rows``, ``files``: a list of one
    dict with ``name``, ``path``, ``size`` (bytes) and ``sha256``.

    :param dataset_id: The dataset's id. (templated)
    :param dataset_name: Its name instead, as OpenAnalyst lists it. (templated)
    :param query: The SQL, or the name of a ``.sql`` file. Give either this or ``question``. (templated)
    :param question: A question in natural language, instead of the SQL. Only where the connection's ``api_form`` is
        ``server``. (templated)
    :param query_timeout: Seconds, or a timedelta, after which OpenAnalyst shall give up the query: the ``timeout`` of
        its API, whose unit the vendor does not name. Not to be mixed up with this operator's own ``timeout``. Only
        where the connection's ``api_form`` is ``server``. Default: the vendor's own.
    :param parameters: Values for placeholders such as ``:region`` in the query. They are written into its text here,
        because the vendor's API takes none; what cannot be bound safely is refused: see `binding.bind`. (templated)
    :param output_path: Where to store the rows: any URL that Airflow's ``ObjectStoragePath`` understands, of a file or,
        with a ``/`` at its end, of a directory. Default: they are returned. (templated)
    :param output_format: ``jsonl``, ``csv`` or ``parquet``. Default: by the suffix of ``output_path``.
    :param max_xcom_rows: How many rows may be returned through XCom, which goes through Airflow's database. Default
        1,000.
    :param allow_partial: Take fewer rows than the vendor says there are. Default False: that is an error.
    :param extra_body: Fields to add to the request's body, for what the vendor takes and this operator does not: a
        dict, or the text of a JSON object. A field that is set otherwise is refused. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the vendor is asked, where no
        webhook tells the end; it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left. Default True.
    :param on_lost_start: ``fail`` (the default) or ``restart`` when a start's reply was lost: see `RunOperator`.
    :param on_changed_arguments: ``adopt`` (the default) or ``restart`` when an open run was asked for something else:
        see `RunOperator`.
    :param kwargs: Those of every operator.
    """

    kind_name = "query"
    id_key = "query_id"
    template_fields: Sequence[str] = (
        "dataset_id",
        "dataset_name",
        "query",
        "question",
        "parameters",
        "output_path",
        "extra_body",
        "openanalyst_conn_id",
    )
    sent_untemplated = ("query_timeout",)
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"query": "sql", "parameters": "json", "extra_body": "json"}
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        dataset_id: str | None = None,
        dataset_name: str | None = None,
        query: str | None = None,
        question: str | None = None,
        query_timeout: float | timedelta | None = None,
        parameters: Mapping[str, Any] | str | None = None,
        output_path: str | None = None,
        output_format: Literal["jsonl", "csv", "parquet"] | None = None,
        max_xcom_rows: int = 1_000,
        allow_partial: bool = False,
        extra_body: Mapping[str, Any] | str | None = None,
        openanalyst_conn_id: str = CONN_ID,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = POLL_INTERVAL,
        timeout: float | timedelta = TIMEOUT,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        on_changed_arguments: Literal["adopt", "restart"] = "adopt",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            deferrable=deferrable,
            wait_for_completion=wait_for_completion,
            poll_interval=poll_interval,
            timeout=timeout,
            durable=durable,
            on_lost_start=on_lost_start,
            on_changed_arguments=on_changed_arguments,
            extra_body=extra_body,
            openanalyst_conn_id=openanalyst_conn_id,
            **kwargs,
        )
        if output_format is not None and output_format not in OUTPUT_FORMATS:
            from airflow_provider_nenoa.exceptions import InvalidArgument

            raise InvalidArgument(
                f"'output_format' cannot be {output_format!r}.\nSet it to one of {', '.join(OUTPUT_FORMATS)}."
            )
        if output_format is not None and output_path is None:
            from airflow_provider_nenoa.exceptions import InvalidArgument

            raise InvalidArgument(
                "'output_format' is for a file, and there is no 'output_path'.\nSet 'output_path', too."
            )
        one_of("dataset", dataset_id, dataset_name)
        self.dataset_id = dataset_id
        self.dataset_name = dataset_name
        self._found_id: str | None = None
        self.query = query
        self.question = question
        self.query_timeout = None if query_timeout is None else positive_seconds("query_timeout", query_timeout)
        self.parameters = parameters
        self.output_path = output_path
        self.output_format = output_format
        self.max_xcom_rows = whole_number("max_xcom_rows", max_xcom_rows, least=0)
        self.allow_partial = yes_or_no("allow_partial", allow_partial)

    def resolve_template_files(self) -> None:
        """Read the ``.sql`` file that ``query`` names; no other argument names one."""
        fields, self.template_fields = self.template_fields, ("query",)
        try:
            super().resolve_template_files()
        finally:
            self.template_fields = fields

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a template; Airflow would take every text that ends in ``.sql`` for a file, wherever it stands."""
        endings, self.template_ext = self.template_ext, self.template_ext if content is self.query else ()
        try:
            return super().render_template(content, *args, **kwargs)
        finally:
            self.template_ext = endings

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.exceptions import InvalidArgument

        if self.query is not None and self.question is not None:
            raise InvalidArgument("Give either 'query' or 'question', not both. Nothing was sent.")
        if self.query is None and self.question is None:
            raise InvalidArgument("'query' must be a non-empty string, unless 'question' is given. Nothing was sent.")
        if self.question is not None and self.parameters is not None:
            raise InvalidArgument("'parameters' are for SQL: write values into 'question' itself. Nothing was sent.")
        self.form.query(id_to_check("dataset", self), self._bound_query(), **self._options())
        if self.output_path:
            from airflow_provider_nenoa.results.rows import format_of
            from airflow_provider_nenoa.results.storage import Place

            format_of(self.output_path, self.output_format)
            Place(self.output_path).check()

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the query; the run that is returned may have ended already."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        self._found_id = id_of("dataset", self, hook)
        return hook.execute_query(
            self._found_id,
            self._bound_query(),
            **self._options(),
            webhook_url=callback_url,
            before_send=before_send,
            large=self._large(),
        )

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Store or return the rows; a webhook may have told the end without them."""
        from airflow_provider_nenoa.exceptions import InvalidReply, PermanentError, ResultRefused, RowsMissing
        from airflow_provider_nenoa.results.rows import are_elsewhere, check_fit_for_xcom, store
        from airflow_provider_nenoa.vendors.rows import part_with_rows, table_of, without_rows

        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        payload = run.payload
        if are_elsewhere(payload):
            payload = hook.get_query_results(run.run_id, large=self._large()).payload
        if part_with_rows(payload) is None:
            raise InvalidReply(f"OpenAnalyst ended query {run.run_id} with '{run.word}', but sent no 'rows'.")
        try:
            if self.output_path:
                return store(payload, self.output_path, self.output_format, allow_partial=self.allow_partial)
            check_fit_for_xcom(payload, self.max_xcom_rows)
            table = table_of(payload, allow_partial=self.allow_partial)
        except RowsMissing:
            raise  # who clears the task with allow_partial=True shall have what came
        except ResultRefused:
            self.memory(context).forget()  # or the query could not be changed
            raise
        except InvalidReply as error:
            if run.run_id:
                raise
            raise PermanentError(
                f"{error}\nThe query was run, but it has no id by which its rows could be asked for once more: clear "
                "the task to run it again."
            ) from error
        assert table is not None
        return {
            "columns": table.columns,
            "row_count": table.row_count,
            "rows": table.rows,
            "result": without_rows(payload),
        }

    def _large(self) -> ReadLarge:
        from airflow_provider_nenoa.results.reply import OnDisk, UpTo

        return OnDisk() if self.output_path else UpTo(self.max_xcom_rows)

    def lineage(self, *, is_over: bool) -> OperatorLineage:
        """Return what OpenLineage shall know of this task: also what the query reads, and the file of its rows."""
        from airflow_provider_nenoa.lineage.runs import lineage_of_query

        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        if (dataset_id := self.dataset_id or self._found_id) is None:
            return super().lineage(is_over=is_over)  # its name was looked up by the process that started the query
        schema = hook.known_schema(dataset_id) if self.query and self.ended else {}
        return lineage_of_query(self, self.query, dataset_id, hook.settings.base_url, schema)

    def _options(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "query_timeout": self.query_timeout,
            "extra_body": self.json_argument("extra_body"),
        }

    def _bound_query(self) -> str | None:
        from airflow_provider_nenoa.sql.binding import bind
        from airflow_provider_nenoa.vendors.arguments import any_object, required

        if self.query is None:
            return None
        query = required("query", self.query)
        return query if self.parameters is None else bind(query, any_object("parameters", self.parameters))
