"""
What is sent to OpenAnalyst: paths and bodies, in the two forms that its pages show.

The vendor publishes two references of the same base URL. A workspace speaks one of them, and the connection's
``api_form`` says which: ``api`` ("API", the default) or ``server`` ("Server API"). What comes back is read in both
forms whatever is sent: see `openanalyst`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar, NoReturn

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.vendors.arguments import (
    json_object,
    path_segment,
    plain,
    required,
    seconds,
    whole_number,
    with_extra,
)

DATASETS_PATH = "/datasets"
REPORTS_PATH = "/reports"
DASHBOARDS_PATH = "/dashboards"
QUERIES_PATH = "/queries"
EXPORTS_PATH = "/exports"

EXPORT_FORMATS = ("csv", "parquet")
MOST_PER_PAGE = 100
"""Objects of a page in the form ``server``: 20 by default, 100 at most."""

Start = tuple[str, dict[str, Any]]
"""The path and the body of a request that starts something."""


def dataset_path(dataset_id: str) -> str:
    """Return where one dataset's metadata and schema are."""
    return f"{DATASETS_PATH}/{path_segment('dataset_id', dataset_id)}"


def report_path(report_id: str) -> str:
    """Return where one report and its data are."""
    return f"{REPORTS_PATH}/{path_segment('report_id', report_id)}"


def query_results_path(query_id: str) -> str:
    """Return where the state and the rows of a query are."""
    return f"{QUERIES_PATH}/{path_segment('query_id', query_id)}/results"


def export_path(export_id: str) -> str:
    """Return where the state of an export is: an assumption, by the paths around it."""
    return f"{EXPORTS_PATH}/{path_segment('export_id', export_id)}"


def export_download_path(export_id: str) -> str:
    """Return where the link to the file of an export that is ``ready`` can be had."""
    return f"{export_path(export_id)}/download"


class Form:
    """
    One of the two forms: how each request is written.

    A method refuses with `InvalidArgument` what the form has no place for, before anything is sent.
    """

    name: ClassVar[str]
    takes_callbacks: ClassVar[bool]
    """Whether a start can name the URL that the vendor shall call about its end."""

    def agent(
        self,
        agent_id: str | None,
        task: str,
        *,
        context: Mapping[str, Any] | None = None,
        dataset_ids: Sequence[str] | None = None,
        model: str | None = None,
        max_steps: int | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        """Write the start of an agent."""
        raise NotImplementedError

    def query(
        self,
        dataset_id: str,
        query: str | None,
        *,
        question: str | None = None,
        query_timeout: float | timedelta | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        """Write the start of a query."""
        raise NotImplementedError

    def export(
        self,
        dataset_id: str,
        export_format: str,
        *,
        date_range: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        """Write the start of an export."""
        raise NotImplementedError

    def agent_run_path(self, run_id: str) -> str:
        """Return where the state and the result of an agent run are."""
        raise NotImplementedError

    def report_file(self, report_id: str, export_format: str) -> tuple[str, dict[str, str]]:
        """Return the path and the parameters by which a report is fetched as a file."""
        raise NotImplementedError

    def first_page(self, page_size: int) -> dict[str, Any]:
        """Return the parameters that ask for the first page of a list."""
        raise NotImplementedError


class ApiForm(Form):
    """The form of the page "API"."""

    name = "api"
    takes_callbacks = True

    def agent(
        self,
        agent_id: str | None,
        task: str,
        *,
        context: Mapping[str, Any] | None = None,
        dataset_ids: Sequence[str] | None = None,
        model: str | None = None,
        max_steps: int | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        self._has_no(dataset_ids=dataset_ids, model=model, max_steps=max_steps)
        body: dict[str, Any] = {"agent_id": required("agent_id", agent_id), "task": required("task", task)}
        if context is not None:
            body["context"] = json_object("context", context)
        return "/agents/run", with_extra(body | _callback(webhook_url), extra_body)

    def query(
        self,
        dataset_id: str,
        query: str | None,
        *,
        question: str | None = None,
        query_timeout: float | timedelta | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        self._has_no(question=question, query_timeout=query_timeout)
        body = {"dataset_id": required("dataset_id", dataset_id), "query": required("query", query)}
        return QUERIES_PATH, with_extra(body | _callback(webhook_url), extra_body)

    def export(
        self,
        dataset_id: str,
        export_format: str,
        *,
        date_range: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        self._knows_no("exports")

    def agent_run_path(self, run_id: str) -> str:
        return f"/agents/runs/{path_segment('run_id', run_id)}"

    def report_file(self, report_id: str, export_format: str) -> tuple[str, dict[str, str]]:
        self._knows_no("reports as files ('export_format')")

    def first_page(self, page_size: int) -> dict[str, Any]:
        return {"page": 1, "per_page": page_size}

    def _has_no(self, **arguments: Any) -> None:
        for name, value in arguments.items():
            if value is not None:
                self._knows_no(f"'{name}'")

    def _knows_no(self, what: str) -> NoReturn:
        raise InvalidArgument(
            f"OpenAnalyst's API in the form 'api' knows no {what}. Nothing was sent.\nIf the workspace speaks the form "
            "'server', set the connection's extra field 'api_form' to 'server'."
        )


class ServerForm(Form):
    """The form of the page "Server API"."""

    name = "server"
    takes_callbacks = False  # the URLs to call are registered beforehand, by POST /webhooks

    def agent(
        self,
        agent_id: str | None,
        task: str,
        *,
        context: Mapping[str, Any] | None = None,
        dataset_ids: Sequence[str] | None = None,
        model: str | None = None,
        max_steps: int | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        self._has_no(context=context)
        body: dict[str, Any] = {"prompt": required("task", task)}  # nobody is named: there is one agent
        if dataset_ids is not None:
            ids = plain("dataset_ids", dataset_ids)
            if not isinstance(ids, list):
                raise InvalidArgument(f"'dataset_ids' must be a list of ids, not {dataset_ids!r}. Nothing was sent.")
            body["dataset_ids"] = [required("dataset_ids", each) for each in ids]
        if model is not None:
            body["model"] = required("model", model)
        if max_steps is not None:
            body["max_steps"] = whole_number("max_steps", max_steps)
        return "/agents/run", with_extra(body, extra_body)

    def query(
        self,
        dataset_id: str,
        query: str | None,
        *,
        question: str | None = None,
        query_timeout: float | timedelta | None = None,
        webhook_url: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        # "sql may be a question in natural language"
        sql = required("query", query) if question is None else required("question", question)
        body: dict[str, Any] = {"dataset_id": required("dataset_id", dataset_id), "sql": sql}
        if query_timeout is not None:
            body["timeout"] = seconds("query_timeout", query_timeout)
        return f"{QUERIES_PATH}/run", with_extra(body, extra_body)

    def export(
        self,
        dataset_id: str,
        export_format: str,
        *,
        date_range: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Start:
        if export_format not in EXPORT_FORMATS:
            raise InvalidArgument(
                f"'export_format' must be one of {', '.join(EXPORT_FORMATS)}, not {export_format!r}. Nothing was sent."
            )
        body: dict[str, Any] = {"dataset_id": required("dataset_id", dataset_id), "format": export_format}
        if date_range is not None:
            body["filter"] = {"date_range": _date_range(date_range)}
        return EXPORTS_PATH, with_extra(body, extra_body)

    def agent_run_path(self, run_id: str) -> str:
        return f"/agents/sessions/{path_segment('run_id', run_id)}"

    def report_file(self, report_id: str, export_format: str) -> tuple[str, dict[str, str]]:
        word = required("export_format", export_format)
        if not (word.isascii() and word.isalnum()):
            raise InvalidArgument(
                f"'export_format' must be a word such as csv, not {export_format!r}. Nothing was sent."
            )
        return f"{report_path(report_id)}/export", {"format": word}

    def first_page(self, page_size: int) -> dict[str, Any]:
        return {"limit": min(page_size, MOST_PER_PAGE)}

    def _has_no(self, **arguments: Any) -> None:
        for name, value in arguments.items():
            if value is not None:
                raise InvalidArgument(
                    f"OpenAnalyst's API in the form 'server' knows no '{name}'. Nothing was sent.\n"
                    "Leave it out, or, if the workspace speaks the form 'api', set the connection's extra field "
                    "'api_form' to 'api'."
                )


FORMS: Mapping[str, Form] = {form.name: form for form in (ApiForm(), ServerForm())}
"""The forms, by what the connection's ``api_form`` calls them."""


def _callback(webhook_url: str | None) -> dict[str, str]:
    return {"webhook_url": webhook_url} if webhook_url else {}


def _date_range(value: object) -> dict[str, str]:
    """Check a range of dates; what is a date or a datetime is written as ISO 8601 does."""
    if not isinstance(value, Mapping) or set(value) != {"start", "end"}:
        raise InvalidArgument(
            f"'date_range' must be a dict with 'start' and 'end', such as "
            f"{{'start': '2024-01-01', 'end': '2024-01-31'}}, not {value!r}. Nothing was sent."
        )
    return {
        name: required(where := f"date_range['{name}']", plain(where, each) if isinstance(each, date) else each)
        for name, each in value.items()
    }
