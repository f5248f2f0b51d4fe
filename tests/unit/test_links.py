from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.execution_time.xcom import XCom

from airflow_provider_nenoa.links.nenai import NenAIRunLink
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


@pytest.mark.parametrize(
    ("message_id", "link"),
    [("0b9d0d65-1c9f", "https://app.getnen.ai/runs/0b9d0d65-1c9f"), (None, ""), ("", "")],
)
def test_the_run_in_the_browser(monkeypatch: pytest.MonkeyPatch, message_id: Any, link: str) -> None:
    asked: list[Any] = []
    key = object()

    def get_value(**arguments: Any) -> Any:
        asked.append(arguments)
        return message_id

    monkeypatch.setattr(XCom, "get_value", get_value)
    operator = NenAIRunWorkflowOperator(task_id="t", workflow_id=WORKFLOW)
    assert [type(each) for each in operator.operator_extra_links] == [NenAIRunLink]
    assert NenAIRunLink().get_link(operator, ti_key=key) == link  # type: ignore[arg-type]
    assert asked == [{"ti_key": key, "key": operator.id_key}]
