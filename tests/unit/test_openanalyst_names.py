"""Datasets and reports by their names."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystGetReportOperator,
)
from airflow_provider_nenoa.operators.openanalyst_export import OpenAnalystExportOperator
from airflow_provider_nenoa.vendors.openanalyst_names import id_of_named
from tests.unit.results.test_operators import TaskInstance


def test_a_name_is_found_in_every_form() -> None:
    objects: list[dict[str, Any]] = [
        {"id": "ds_1", "name": "sales"},
        {"dataset_id": "ds_2", "title": " Sales "},
        {"id": 3, "name": "", "title": "Costs"},
        {"name": "Orders"},
        {"id": "ds_5"},
    ]
    assert id_of_named("dataset", "Sales", objects) == "ds_2"
    assert id_of_named("dataset", " sales", objects) == "ds_1"
    assert id_of_named("dataset", "Costs", objects) == "3"
    with pytest.raises(InvalidArgument, match=r"no dataset that is named 'Orders'\.\n.*and 2 without a name or id"):
        id_of_named("dataset", "Orders", objects)


def test_candidates_are_told_and_not_all_of_many() -> None:
    objects = [{"id": f"rep_{number}", "name": f"Report {number}\n" + "x" * 1_000} for number in range(500)]
    with pytest.raises(InvalidArgument) as raised:
        id_of_named("report", "report 499", objects)
    assert "It has 'Report 499" in str(raised.value)
    assert "and 490 more" in str(raised.value)
    assert len(str(raised.value)) < 1_500
    assert str(raised.value).replace("\n", "", 1).isprintable()
    same = [{"id": f"rep_{number}", "name": "R"} for number in range(12)]
    with pytest.raises(
        InvalidArgument, match=r"has 12 reports that are named 'R'\.\nName one by 'report_id': rep_0, .*2 m"
    ):
        id_of_named("report", "R", same)
    with pytest.raises(InvalidArgument, match=r"It lists none that has a name. Correct 'report_name'"):
        id_of_named("report", "R", [])


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": TaskInstance()}


def test_operators_look_names_up_when_they_run(openanalyst: str, context: Any) -> None:
    common = {"task_id": "t", "openanalyst_conn_id": openanalyst}
    dataset = OpenAnalystGetDatasetOperator(dataset_name="Sales 2024, copy 3", **common).execute(context)
    assert dataset["name"] == "Sales 2024, copy 3"
    reports = {
        name: OpenAnalystGetReportOperator(report_name=name, **common).execute(context)["name"]
        for name in ("Revenue by month: North", "Revenue by month: South")
    }
    assert all(name == found for name, found in reports.items())
    query = OpenAnalystExecuteQueryOperator(dataset_name="Sales 2024", query="SELECT 1 AS one", durable=False, **common)
    assert query.execute(context)["rows"] == [{"one": 1}]
    with pytest.raises(InvalidArgument, match=r"is named 'Sales'\.\nIt has 'Sales 2024', 'Sales 2024, copy 2'"):
        OpenAnalystGetDatasetOperator(dataset_name="Sales", **common).execute(context)


@pytest.mark.parametrize(
    ("operator", "what", "options"),
    [
        (OpenAnalystGetDatasetOperator, "dataset", {}),
        (OpenAnalystGetReportOperator, "report", {}),
        (OpenAnalystExecuteQueryOperator, "dataset", {"query": "SELECT 1"}),
        (OpenAnalystExportOperator, "dataset", {"output_path": "file:///nowhere/"}),
    ],
)
def test_either_an_id_or_a_name(operator: type[Any], what: str, options: dict[str, Any]) -> None:
    assert {f"{what}_id", f"{what}_name"} <= set(operator.template_fields)
    for given in ({}, {f"{what}_id": "x", f"{what}_name": "y"}):
        with pytest.raises(InvalidArgument, match=f"Give either '{what}_id' or '{what}_name', and not both"):
            operator(task_id="t", **given, **options)
