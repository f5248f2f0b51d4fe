"""Operators for OpenAnalyst."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.operators.base import RunOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger

CONN_ID = "openanalyst_default"


class OpenAnalystRunOperator(RunOperator):
    """
    What the operators that start something at OpenAnalyst share.

    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    def __init__(self, *, openanalyst_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.openanalyst_conn_id = openanalyst_conn_id

    @property
    def conn_id(self) -> str:
        """The Airflow connection."""
        return self.openanalyst_conn_id

    def make_hook(self) -> OpenAnalystHook:
        """Make the hook for the connection."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        return OpenAnalystHook(self.openanalyst_conn_id)


class OpenAnalystRunAgentOperator(OpenAnalystRunOperator):
    """
    Give an OpenAnalyst agent a task and return its answer.

    Returns a dict: ``run_id``, ``agent_id``, ``status`` (the vendor's word) and ``result`` (the vendor's whole
    payload about the ended run, every field it sent).

    :param agent_id: The agent. (templated)
    :param task_prompt: What it is asked to do, in words. (templated)
    :param context: Data for it: a dict, or the text of a JSON object. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param kwargs: ``deferrable``, ``wait_for_completion``, ``poll_interval``, ``timeout``, ``durable`` and
        ``on_lost_start`` of `RunOperator`, and those of every operator.
    """

    kind_name = "agent"
    id_key = "run_id"
    template_fields: Sequence[str] = ("agent_id", "task_prompt", "context", "openanalyst_conn_id")
    template_fields_renderers = {"context": "json"}
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        agent_id: str,
        task_prompt: str,
        context: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.task_prompt = task_prompt
        self.context = context

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.hooks.base import required

        required("agent_id", self.agent_id)
        required("task_prompt", self.task_prompt)
        self._context()

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the agent."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        return hook.run_agent(
            self.agent_id, self.task_prompt, self._context(), webhook_url=callback_url, before_send=before_send
        )

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Return what OpenAnalyst sent."""
        return {"run_id": run.run_id, "agent_id": self.agent_id, "status": run.word, "result": run.payload}

    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run."""
        from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystAgentRunTrigger

        return OpenAnalystAgentRunTrigger(run_id, self.openanalyst_conn_id, **kwargs)

    def _context(self) -> dict[str, Any] | None:
        import json

        from airflow_provider_nenoa.hooks.base import json_object

        value: Any = self.context
        if isinstance(value, str):
            try:
                value = json.loads(value) if value.strip() else None
            except (ValueError, RecursionError) as error:
                raise InvalidArgument(f"'context' is not JSON: {error}. Nothing was sent.") from None
        return None if value is None else json_object("context", value)


class OpenAnalystExecuteQueryOperator(OpenAnalystRunOperator):
    """
    Run a SQL query over an OpenAnalyst dataset and return its rows.

    The vendor answers a quick query with its rows at once; a long one is waited for.

    Returns a dict: ``columns`` (list of names), ``row_count`` and ``rows`` (list of dicts).

    :param dataset_id: The dataset. (templated)
    :param query: The SQL, or the name of a ``.sql`` file. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param kwargs: ``deferrable``, ``wait_for_completion``, ``poll_interval``, ``timeout``, ``durable`` and
        ``on_lost_start`` of `RunOperator`, and those of every operator.
    """

    kind_name = "query"
    id_key = "query_id"
    template_fields: Sequence[str] = ("dataset_id", "query", "openanalyst_conn_id")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"query": "sql"}
    ui_color = "#dff2e8"

    def __init__(self, *, dataset_id: str, query: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset_id = dataset_id
        self.query = query

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.hooks.base import required

        required("dataset_id", self.dataset_id)
        required("query", self.query)

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the query; the run that is returned may have ended already."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        return hook.execute_query(self.dataset_id, self.query, webhook_url=callback_url, before_send=before_send)

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Return the rows; a webhook may have told the end without them."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        payload = run.payload if "rows" in run.payload else hook.get_query_results(run.run_id).payload
        rows = payload.get("rows") or []
        columns = payload.get("columns") or (list(rows[0]) if rows else [])
        return {"columns": columns, "row_count": payload.get("row_count", len(rows)), "rows": rows}

    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the query."""
        from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystQueryTrigger

        return OpenAnalystQueryTrigger(run_id, self.openanalyst_conn_id, **kwargs)


class _ListOperator(BaseOperator):
    """
    List objects of a workspace.

    :param page_size: Objects per request. Default 100.
    :param limit: Stop after so many objects. Default: all.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    objects: ClassVar[str]
    template_fields: Sequence[str] = ("openanalyst_conn_id",)
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        page_size: int = 100,
        limit: int | None = None,
        openanalyst_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("page_size", page_size), ("limit", limit)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InvalidArgument(f"'{name}' must be a whole number of at least 1, not {value!r}.")
        self.page_size = page_size
        self.limit = limit
        self.openanalyst_conn_id = openanalyst_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Fetch the pages that are needed, and return the objects."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        list_objects = getattr(OpenAnalystHook(self.openanalyst_conn_id), f"list_{self.objects}")
        return list(islice(list_objects(page_size=self.page_size), self.limit))


class OpenAnalystListDatasetsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the datasets of a workspace", 1)
    objects = "datasets"


class OpenAnalystListReportsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the reports of a workspace", 1)
    objects = "reports"


class OpenAnalystListDashboardsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the dashboards of a workspace", 1)
    objects = "dashboards"


class OpenAnalystGetDatasetOperator(BaseOperator):
    """
    Fetch the metadata and schema of a dataset, as a dict with every field the vendor sent.

    :param dataset_id: The dataset. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    template_fields: Sequence[str] = ("dataset_id", "openanalyst_conn_id")
    ui_color = "#dff2e8"

    def __init__(self, *, dataset_id: str, openanalyst_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset_id = dataset_id
        self.openanalyst_conn_id = openanalyst_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch it."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        return OpenAnalystHook(self.openanalyst_conn_id).get_dataset(self.dataset_id)


class OpenAnalystGetReportOperator(BaseOperator):
    """
    Fetch a report and its data, as a dict with every field the vendor sent.

    :param report_id: The report. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    template_fields: Sequence[str] = ("report_id", "openanalyst_conn_id")
    ui_color = "#dff2e8"

    def __init__(self, *, report_id: str, openanalyst_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.report_id = report_id
        self.openanalyst_conn_id = openanalyst_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch it."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        return OpenAnalystHook(self.openanalyst_conn_id).get_report(self.report_id)
