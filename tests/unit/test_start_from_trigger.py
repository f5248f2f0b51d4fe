"""Sensors that the scheduler defers: as far as it, the triggerer and the worker see them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg, task

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.sensors import start
from airflow_provider_nenoa.sensors.base import RunSensor
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.sensors.openanalyst import (
    OpenAnalystAgentRunSensor,
    OpenAnalystExportSensor,
    OpenAnalystQuerySensor,
)
from airflow_provider_nenoa.triggers.base import RunTrigger
from tests.support.fake_vendor import FakeReceiver, FakeVendor, vendors
from tests.unit.test_triggers import fire, run

renders = pytest.mark.needs("start_from_trigger")
SENSORS: list[type[RunSensor]] = [
    NenAIWorkflowRunSensor,
    OpenAnalystAgentRunSensor,
    OpenAnalystExportSensor,
    OpenAnalystQuerySensor,
]


@pytest.fixture(params=SENSORS, ids=lambda sensor: sensor.__name__)
def sensor_class(request: pytest.FixtureRequest) -> Any:
    return request.param


def scheduled(dag: DAG, task_id: str = "wait") -> Any:
    """Return a task as the scheduler knows it: from the serialised DAG."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))).get_task(task_id)


def triggered(serialized: Any, context: dict[str, Any], *, deferred_at: float) -> RunTrigger:
    """Make a trigger as a triggerer does, of what the scheduler has written down."""
    from airflow.serialization.decoders import smart_decode_trigger_kwargs

    arguments = serialized.start_trigger_args
    module, _, name = arguments.trigger_cls.rpartition(".")
    kwargs = smart_decode_trigger_kwargs(arguments.trigger_kwargs)
    trigger: RunTrigger = getattr(import_module(module), name)(**kwargs)
    trigger.task_instance = SimpleNamespace(task=serialized, task_id=serialized.task_id)  # type: ignore[assignment]
    lifetime = arguments.timeout
    if serialized.execution_timeout:
        lifetime = min(lifetime, serialized.execution_timeout)
    trigger.timeout_after = dt.datetime.fromtimestamp(deferred_at, dt.UTC) + lifetime
    trigger.render_template_fields(context)  # type: ignore[arg-type]
    return trigger


@renders
def test_templates_are_rendered_on_the_trigger(sensor_class: Any) -> None:
    with DAG("d") as dag:
        sensor_class(
            task_id="wait",
            start_from_trigger=True,
            **{sensor_class.id_key: "{{ params.run }}", sensor_class.conn_key: "conn_{{ params.run }}"},
        )
    serialized = scheduled(dag)
    assert serialized.start_from_trigger is True
    assert serialized.start_trigger_args.next_method == "execute_complete"
    trigger = triggered(serialized, {"params": {"run": "r1"}}, deferred_at=time.time())
    assert trigger.kind == sensor_class.kind_name
    assert (trigger.run_id, trigger.conn_id) == ("r1", "conn_r1")
    assert trigger.serialize()[1][sensor_class.id_key] == "r1"


@renders
def test_the_output_of_a_task_is_a_template(sensor_class: Any) -> None:
    with DAG("d") as dag:

        @task
        def begin() -> str:
            return "r"

        output: Any = begin()
        sensor_class(task_id="wait", start_from_trigger=True, **{sensor_class.id_key: output})
    pulled: list[Any] = []
    ti = SimpleNamespace(xcom_pull=lambda **names: pulled.append(names) or "r2")
    serialized = scheduled(dag)
    assert serialized.upstream_task_ids == {"begin"}
    trigger = triggered(serialized, {"task_instance": ti}, deferred_at=time.time())
    assert trigger.run_id == "r2"
    assert pulled == [{"task_ids": "begin", "dag_id": "d", "key": "return_value", "map_indexes": -1}]


@renders
@pytest.mark.parametrize(
    ("options", "patience"),
    [
        ({"timeout": 100.0}, 100.0),
        ({"timeout": 100.0, "execution_timeout": dt.timedelta(seconds=52)}, 50.0),
        ({"timeout": 100.0, "execution_timeout": dt.timedelta(hours=1)}, 100.0),
    ],
)
def test_time_is_counted_from_when_the_scheduler_deferred_it(options: dict[str, Any], patience: float) -> None:
    with DAG("d") as dag:
        OpenAnalystAgentRunSensor(task_id="wait", run_id="r", start_from_trigger=True, **options)
    serialized, vendor = scheduled(dag), FakeVendor({"r": ["running"]})

    async def main() -> None:
        deferred_at = time.time() - 30.0  # by a triggerer that was lost since
        trigger = triggered(serialized, {}, deferred_at=deferred_at)
        with vendors(vendor):
            event = await fire(trigger)
        assert "timeout" in event
        assert event["started_at"] == pytest.approx(deferred_at, abs=0.001)
        assert time.time() - deferred_at == pytest.approx(patience, abs=1)

    run(main)


@renders
@pytest.mark.parametrize("rendered", ["", " ", None])
def test_a_template_that_finds_nothing(rendered: Any) -> None:
    with DAG("d") as dag:
        OpenAnalystAgentRunSensor(task_id="wait", run_id="{{ params.run }}", start_from_trigger=True)

    async def main() -> None:
        trigger = triggered(scheduled(dag), {"params": {"run": rendered}}, deferred_at=time.time())
        event = await fire(trigger)
        assert event["permanent"] is True
        assert "'run_id' is" in event["error"]

    run(main)


@renders
def test_the_connection_says_whether_a_webhook_may_tell() -> None:
    with DAG("d") as dag:
        OpenAnalystAgentRunSensor(task_id="wait", run_id="r", start_from_trigger=True, poll_interval=15.0)
    vendor, receiver = FakeVendor({"r": ["running"]}), FakeReceiver()

    async def main() -> None:
        with vendors(vendor, receiver):
            trigger = triggered(scheduled(dag), {}, deferred_at=time.time())
            assert trigger.told is None
            waiting = asyncio.ensure_future(fire(trigger))
            await asyncio.sleep(300)
            asked = len(vendor.polls)
            receiver.deliver("r", "completed")
            event = await waiting
        assert event["by_webhook"] is True
        assert asked <= 1  # not every 15 s

    run(main)


def test_a_worker_begins_where_airflow_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "BaseTrigger", object)  # of Airflow 3.0 to 3.2
    sensor = OpenAnalystAgentRunSensor(task_id="wait", run_id="r", start_from_trigger=True)
    assert (sensor.start_from_trigger, sensor.start_trigger_args, sensor.deferrable) == (False, None, True)


@renders
def test_a_worker_begins_a_mapped_sensor_and_one_whose_id_is_no_text() -> None:
    with DAG("d") as dag:

        @task
        def begin() -> list[str]:
            return ["r"]

        output = begin()
        OpenAnalystAgentRunSensor.partial(task_id="wait", start_from_trigger=True).expand(run_id=output)
        assert isinstance(output, XComArg)
        mapped: Any = output.map(lambda run_id: run_id)
        sensor = OpenAnalystAgentRunSensor(task_id="mapped", run_id=mapped, start_from_trigger=True)
    pulling = "{{ ti.xcom_pull('begin') }}"  # which no triggerer of Airflow 3.3 answers
    pulled = OpenAnalystAgentRunSensor(task_id="pulled", run_id=pulling, start_from_trigger=True)
    assert not sensor.start_from_trigger
    assert not pulled.start_from_trigger
    assert scheduled(dag).start_trigger_args is None


def test_it_is_opt_in_and_deferrable() -> None:
    sensor = OpenAnalystAgentRunSensor(task_id="wait", run_id="r", deferrable=True)
    assert (sensor.start_from_trigger, sensor.start_trigger_args) == (False, None)
    with pytest.raises(InvalidArgument, match="'start_from_trigger' is for a deferrable sensor"):
        OpenAnalystAgentRunSensor(task_id="wait", run_id="r", deferrable=False, start_from_trigger=True)
