"""OpenAnalyst: one method per endpoint, nothing about waiting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import (
    InvalidArgument,
    InvalidConnection,
    InvalidReply,
    NenoaError,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.hooks.base import (
    ConnectionSettings,
    VendorHook,
    form_behaviour,
    form_widgets,
    json_object,
    path_segment,
    required,
)
from airflow_provider_nenoa.http import ApiKeyAuth
from airflow_provider_nenoa.runs import Run, RunStatus, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from requests.auth import AuthBase

PLANS: dict[str, tuple[float, float]] = {
    "free": (30, 500),
    "basic": (120, 5_000),
    "pro": (600, 50_000),
    "max": (1_200, 200_000),
}
"""Requests per minute and per day of each plan, per workspace (OpenAnalyst's API page, "Rate Limits")."""


class OpenAnalystHook(VendorHook):
    """
    Talk to OpenAnalyst's REST API.

    :param openanalyst_conn_id: A connection of type ``openanalyst``: password = API key, host = base URL if it is
        not ``https://api.openanalyst.com/v1``. Default ``openanalyst_default``.
    :param kwargs: ``retry_for`` and ``on_response`` of `VendorHook`.
    """

    vendor = "OpenAnalyst"
    default_host = "https://api.openanalyst.com/v1"
    conn_type = "openanalyst"
    conn_name_attr = "openanalyst_conn_id"
    default_conn_name = "openanalyst_default"
    hook_name = "OpenAnalyst"
    webhooks_need_https = True  # stated on its API page, "Webhook Callbacks"

    def __init__(self, openanalyst_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(openanalyst_conn_id, **kwargs)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow before 3.2."""
        return form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's behaviour, for Airflow before 3.2."""
        return form_behaviour(cls.conn_type)

    @classmethod
    def rate_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """
        Return the limits of the connection's ``plan``, overruled by ``requests_per_minute`` and ``requests_per_day``.

        :raises InvalidConnection: The plan is unknown, or is ``enterprise`` without explicit numbers.
        """
        per_minute, per_day = settings.number("requests_per_minute"), settings.number("requests_per_day")
        plan = str(settings.extra.get("plan") or "free").strip().lower()
        if plan == "enterprise":
            if per_minute is None or per_day is None:
                raise InvalidConnection(
                    f"Connection '{settings.conn_id}': an Enterprise plan has limits of its own. Set "
                    "'requests_per_minute' and 'requests_per_day'."
                )
            return per_minute, per_day
        if plan not in PLANS:
            raise InvalidConnection(
                f"Connection '{settings.conn_id}': unknown plan {plan!r}. Use one of {', '.join(PLANS)} or enterprise."
            )
        return per_minute or PLANS[plan][0], per_day or PLANS[plan][1]

    def list_datasets(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """
        Iterate over all datasets of the workspace; a page is fetched when it is reached.

        :param page_size: Objects per request. Default 100.
        :return: One dict per dataset, with every field the vendor sent.
        """
        return self._objects("/datasets", page_size)

    def get_dataset(self, dataset_id: str) -> dict[str, Any]:
        """Fetch the metadata and schema of one dataset."""
        return self.api.get(f"/datasets/{path_segment('dataset_id', dataset_id)}")

    def list_reports(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Iterate over all reports of the workspace, as `list_datasets` does over datasets."""
        return self._objects("/reports", page_size)

    def get_report(self, report_id: str) -> dict[str, Any]:
        """Fetch one report and its data."""
        return self.api.get(f"/reports/{path_segment('report_id', report_id)}")

    def list_dashboards(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Iterate over all dashboards of the workspace, as `list_datasets` does over datasets."""
        return self._objects("/dashboards", page_size)

    def execute_query(
        self,
        dataset_id: str,
        query: str,
        *,
        webhook_url: str | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start a query. The vendor answers with the rows, or with an id and ``running``.

        :param dataset_id: The dataset to query.
        :param query: The SQL.
        :param webhook_url: Where the vendor reports the end of a large query.
        :param before_send: Called immediately before the request goes out.
        :return: Ended, with ``columns``, ``rows``, ``row_count`` in its payload; or running.
        :raises StartOutcomeUnknown: The query may or may not run now.
        """
        body = {"dataset_id": required("dataset_id", dataset_id), "query": required("query", query)}
        if webhook_url:
            body["webhook_url"] = webhook_url
        reply = self.api.start("/queries", body, before_send=before_send)
        word = reply.get("status") or "completed"
        if "rows" in reply and status_of(word) is RunStatus.SUCCESS:
            return Run(str(reply.get("id") or ""), word, reply)
        return _started(reply, "id", "/queries")

    def get_query_results(self, query_id: str) -> Run:
        """
        Ask how a query stands, and for its rows once it is ``completed``.

        :param query_id: The ``id`` that `execute_query` got.
        """
        path = f"/queries/{path_segment('query_id', query_id)}/results"
        reply = self.api.get(path)
        if "status" not in reply and "rows" in reply:
            return Run(query_id, "completed", reply)
        return _state(reply, query_id, path)

    def run_agent(
        self,
        agent_id: str,
        task: str,
        context: Mapping[str, Any] | None = None,
        *,
        webhook_url: str | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start a run of an AI agent.

        :param agent_id: The agent.
        :param task: What it is asked to do, in words.
        :param context: Data for it; must be JSON.
        :param webhook_url: Where the vendor reports the end of the run.
        :param before_send: Called immediately before the request goes out.
        :return: The run, with its id.
        :raises StartOutcomeUnknown: The agent may or may not run now.
        """
        body: dict[str, Any] = {"agent_id": required("agent_id", agent_id), "task": required("task", task)}
        if context is not None:
            body["context"] = json_object("context", context)
        if webhook_url:
            body["webhook_url"] = webhook_url
        return _started(self.api.start("/agents/run", body, before_send=before_send), "run_id", "/agents/run")

    def get_agent_run(self, run_id: str) -> Run:
        """
        Ask how an agent run stands, and for its result once it is ``completed``.

        :param run_id: The ``run_id`` that `run_agent` got.
        """
        path = f"/agents/runs/{path_segment('run_id', run_id)}"
        return _state(self.api.get(path), run_id, path)

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one dataset, for the Test button of Airflow's connection form: costs one request."""
        try:
            self.api.get("/datasets", {"page": 1, "per_page": 1})
        except NenoaError as error:
            return False, str(error)
        return True, f"{self.vendor} accepted the API key at {self.settings.base_url}."

    def _auth(self, api_key: str) -> AuthBase:
        return ApiKeyAuth("Authorization", f"Bearer {api_key}")

    def _objects(self, path: str, page_size: int) -> Iterator[dict[str, Any]]:
        if not isinstance(page_size, int) or page_size < 1:
            raise InvalidArgument(f"'page_size' must be a whole number of at least 1, not {page_size!r}.")
        return self._pages(path, page_size)

    def _pages(self, path: str, page_size: int) -> Iterator[dict[str, Any]]:
        """
        Follow either form of pagination to its end.

        A server that ignores the page number or the cursor repeats itself for ever; the first page that was seen
        before ends the iteration.
        """
        page = 1
        params: dict[str, Any] = {"page": page, "per_page": page_size}
        seen: set[int] = set()
        while True:
            reply = self.api.get(path, params)
            objects = reply.get("data")
            if not isinstance(objects, list):
                raise InvalidReply(f"{self.vendor} answered GET {path} without a list in 'data'.")
            if not objects:
                return
            fingerprint = hash(json.dumps(objects, sort_keys=True))
            if fingerprint in seen:
                self.log.warning("%s repeats a page of %s: stopped there.", self.vendor, path)
                return
            seen.add(fingerprint)
            yield from objects
            meta, cursor = reply.get("meta"), reply.get("pagination")
            if isinstance(meta, dict) and page < _number(meta.get("total_pages")):
                page += 1
                params = {"page": page, "per_page": page_size}
            elif isinstance(cursor, dict) and cursor.get("has_more") and cursor.get("cursor"):
                params = {"limit": page_size, "after": cursor["cursor"]}
            else:
                return


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _started(reply: dict[str, Any], id_field: str, path: str) -> Run:
    run_id = reply.get(id_field)
    if not isinstance(run_id, (str, int)) or not str(run_id):
        raise StartOutcomeUnknown(
            f"OpenAnalyst accepted POST {path}, but its reply has no '{id_field}' (it has {sorted(reply)}): "
            "something may run now that cannot be named. It was not sent again."
        )
    return Run(str(run_id), str(reply.get("status") or "running"), reply)


def _state(reply: dict[str, Any], run_id: str, path: str) -> Run:
    word = reply.get("status")
    if not isinstance(word, str) or not word:
        raise InvalidReply(f"OpenAnalyst answered GET {path} without a 'status' (it has {sorted(reply)}).")
    return Run(run_id, word, reply)
