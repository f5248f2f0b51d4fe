"""Whatever an operator is given, it has; and what it has reaches whoever fetches the files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.operators import nenai as of_nenai
from airflow_provider_nenoa.operators import openanalyst as of_openanalyst
from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystExportOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.results.reply import OnDisk, UpTo
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import Ended

OPERATORS: list[type[BaseOperator]] = [
    getattr(module, name) for module in (of_nenai, of_openanalyst) for name in module.__all__
]
GIVEN: dict[str, Any] = {
    "allow_partial": True,
    "auth": SimpleNamespace(),
    "context": {"a": 1},
    "dataset_ids": ["d"],
    "date_range": {"from": "a"},
    "deferrable": True,
    "durable": False,
    "extra_body": {"a": 1},
    "files": ("a",),
    "limit": 7,
    "max_file_size": 8,
    "max_files": 9,
    "max_steps": 10,
    "max_xcom_rows": 0,
    "on_changed_arguments": "restart",
    "on_lost_start": "restart",
    "output_format": "jsonl",
    "page_size": 11,
    "parameters": {"a": 1},
    "poll_interval": 12.5,
    "query_timeout": 13.5,
    "secure_workflow_params": {"pin": "1"},
    "timeout": 14.5,
    "unpack": False,
    "wait_for_completion": False,
    "workflow_params": {"a": 1},
}
"""Other values than the defaults; an argument that is not here is given its own name."""


def arguments_of(operator: type[BaseOperator]) -> dict[str, Any]:
    """One value for each argument of an operator and of those that it is made from."""
    names: dict[str, None] = {}
    for each in operator.__mro__[: operator.__mro__.index(BaseOperator)]:
        named = inspect.signature(each.__init__).parameters.values() if "__init__" in vars(each) else ()
        names |= {parameter.name: None for parameter in named if parameter.kind is parameter.KEYWORD_ONLY}
    return {name: GIVEN.get(name, name) for name in names if not name.endswith("_name")}


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_what_is_given_is_what_it_has(operator: type[BaseOperator]) -> None:
    given = arguments_of(operator)
    made = operator(task_id="t", **given)
    assert {name: getattr(made, name) for name in given} == given
    # An id or a name, and not both.
    for name in [name for name in given if f"{name.removesuffix('_id')}_name" in operator.template_fields]:
        by_name = f"{name.removesuffix('_id')}_name"
        made = operator(task_id="t", **{**given, name: None, by_name: "called so"})
        assert (getattr(made, name), getattr(made, by_name)) == (None, "called so")


LIMITS = {"files": ("a",), "unpack": False, "max_files": 9, "max_file_size": 8}


@pytest.mark.parametrize("operator", [NenAIRunWorkflowOperator, NenAIDownloadResultsOperator])
def test_how_the_files_of_a_workflow_are_fetched(nenai: str, monkeypatch: pytest.MonkeyPatch, operator: Any) -> None:
    run = Run("m-1", "success", {"a": "https://files.test/a.zip"})
    fetched: list[Any] = []

    def download_results(hook: Any, *args: Any, **kwargs: Any) -> list[Any]:
        fetched.append((hook.conn_id, args, kwargs))
        return ["stored"]

    monkeypatch.setattr(NenAIHook, "download_results", download_results)
    monkeypatch.setattr(asking, "ask", lambda hook, key: Ended(key.run_id, "success", False, run))
    given = {**arguments_of(operator), "nenai_conn_id": nenai, "do_xcom_push": False}
    made = operator(task_id="t", **given)
    if operator is NenAIRunWorkflowOperator:
        assert made.finish(run, {})["files"] == ["stored"]
    else:
        assert made.execute({}) == ["stored"]
    assert fetched == [(nenai, (run, "output_path"), LIMITS)]


def test_how_an_export_is_fetched(openanalyst: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr(
        OpenAnalystHook, "download_export", lambda hook, *args, **kwargs: fetched.append((args, kwargs)) or "stored"
    )
    given = {**arguments_of(OpenAnalystExportOperator), "openanalyst_conn_id": openanalyst}
    for dataset, payload, known in (
        ("d", {"dataset_id": "e"}, "d"),
        (None, {"dataset_id": "e"}, "e"),
        (None, {}, None),
    ):
        names = {"dataset_id": dataset, "dataset_name": None if dataset else "called so"}
        made = OpenAnalystExportOperator(task_id="t", **{**given, **names})
        assert made.finish(Run("x", "completed", payload), {}) == {  # type: ignore[typeddict-item]
            "export_id": "x",
            "dataset_id": known,
            "status": "completed",
            "files": ["stored"],
        }
    assert fetched == [(("x", "output_path"), {"export_format": "export_format", "max_file_size": 8})] * 3


STARTS: list[tuple[Any, Any, str, dict[str, Any], tuple[Any, ...], dict[str, Any]]] = [
    (
        NenAIRunWorkflowOperator,
        NenAIHook,
        "start_run",
        {},
        ("workflow_id", {"a": 1}),
        {"secure_workflow_params": {"pin": "1"}, "webhook_callback": "url", "extra_body": {"a": 1}},
    ),
    (
        OpenAnalystRunAgentOperator,
        OpenAnalystHook,
        "run_agent",
        {},
        ("agent_id", "task_prompt"),
        {
            "context": {"a": 1},
            "dataset_ids": ["d"],
            "model": "model",
            "max_steps": 10,
            "extra_body": {"a": 1},
            "webhook_url": "url",
        },
    ),
    (
        OpenAnalystExecuteQueryOperator,
        OpenAnalystHook,
        "execute_query",
        {"query": "SELECT :a", "question": None},
        ("dataset_id", "SELECT 1"),
        {"question": None, "query_timeout": 13.5, "extra_body": {"a": 1}, "webhook_url": "url", "large": OnDisk},
    ),
    (
        OpenAnalystExecuteQueryOperator,
        OpenAnalystHook,
        "execute_query",
        {"query": None, "parameters": None, "output_path": None, "output_format": None},
        ("dataset_id", None),
        {"question": "question", "query_timeout": 13.5, "extra_body": {"a": 1}, "webhook_url": "url", "large": UpTo},
    ),
    (
        OpenAnalystExportOperator,
        OpenAnalystHook,
        "start_export",
        {},
        ("dataset_id", "export_format"),
        {"date_range": {"from": "a"}, "extra_body": {"a": 1}},
    ),
]


@pytest.mark.parametrize(("operator", "hook", "method", "other", "sent", "named"), STARTS)
def test_what_a_start_is_told(
    nenai: str,
    openanalyst: str,
    monkeypatch: pytest.MonkeyPatch,
    operator: Any,
    hook: Any,
    method: str,
    other: dict[str, Any],
    sent: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(hook, method, lambda self, *args, **kwargs: told.append((args, kwargs)) or "run")
    conn_id = {operator.conn_field: nenai if hook is NenAIHook else openanalyst}
    made = operator(task_id="t", **{**arguments_of(operator), **conn_id, **other})
    assert made.start("url", announce := lambda: None) == "run"
    ((args, kwargs),) = told
    if "large" in kwargs:
        kwargs["large"] = type(kwargs["large"])
    assert (args, kwargs) == (sent, {**named, "before_send": announce})


def test_what_an_export_is_given_is_looked_at_before_a_name_is_looked_up(connect: Callable[..., str]) -> None:
    conn_id = connect("openanalyst", extra={"api_form": "server"})
    given = {**arguments_of(OpenAnalystExportOperator), "openanalyst_conn_id": conn_id, "export_format": "csv"}
    given |= {
        "date_range": {"start": "2026-01-01", "end": "2026-02-01"},
        "dataset_id": None,
        "dataset_name": "called so",
        "output_path": "/tmp/x.csv",
    }
    OpenAnalystExportOperator(task_id="t", **given).check()
    for wrong in ({"date_range": "{"}, {"extra_body": "{"}, {"output_path": None, "wait_for_completion": True}):
        with pytest.raises(InvalidArgument, match=f"'{next(iter(wrong))}' is .*Nothing was sent"):
            OpenAnalystExportOperator(task_id="t", **{**given, **wrong}).check()
