from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest
from airflow.plugins_manager import AirflowPlugin
from starlette.applications import Starlette
from starlette.testclient import TestClient

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.webhooks import app
from airflow_provider_nenoa.webhooks.plugin import LazyReceiver, Listener, NenoaPlugin


def test_it_is_what_airflow_asks_of_a_plugin() -> None:
    assert issubclass(NenoaPlugin, AirflowPlugin)
    (mounted,) = NenoaPlugin.fastapi_apps
    assert mounted["url_prefix"] == "/nenoa"
    assert callable(mounted["app"])


def test_importing_it_loads_nothing_of_the_receiver() -> None:
    code = """
import sys
from airflow.plugins_manager import AirflowPlugin
import airflow.listeners
before = set(sys.modules)
import airflow_provider_nenoa.webhooks.plugin
print(*sorted(name for name in set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "airflow_provider_nenoa.webhooks.plugin" in loaded
    assert loaded <= {
        "airflow_provider_nenoa",
        "airflow_provider_nenoa.webhooks",
        "airflow_provider_nenoa.webhooks.plugin",
    }


def test_the_app_is_built_once_with_the_first_request(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    built = []

    async def answer(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    monkeypatch.setattr(app, "mounted_app", lambda: built.append(1) or answer)
    outer = Starlette()
    outer.mount("/nenoa", LazyReceiver())
    client = TestClient(outer)
    assert built == []
    assert client.get("/nenoa/health").status_code == 204
    assert client.get("/nenoa/health").status_code == 204
    assert built == [1]


async def test_who_comes_while_it_is_built_waits_for_it_and_a_failure_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builds, may_end = [], threading.Event()
    answered: list[str] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        answered.append(scope)

    def build() -> Any:
        builds.append(1)
        assert may_end.wait(20)
        if len(builds) == 1:
            raise OSError("no database yet")
        return answer

    monkeypatch.setattr(app, "mounted_app", build)
    receiver = LazyReceiver()
    for times, asked, outcome in ((1, "first", OSError), (2, "again", type(None))):
        may_end.clear()
        both = [asyncio.ensure_future(receiver(asked, None, None)) for _ in range(2)]
        async with asyncio.timeout(20):
            while len(builds) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        may_end.set()
        assert [type(each) for each in await asyncio.gather(*both, return_exceptions=True)] == [outcome] * 2
    assert (len(builds), answered) == (2, ["again"] * 2)


def test_a_triggerer_gets_ready_early(monkeypatch: pytest.MonkeyPatch) -> None:
    built = threading.Event()
    monkeypatch.setattr(airflow_internals, "build_in_process_api", built.set)
    Listener().on_starting(component=None)
    assert built.wait(5)


def test_what_a_triggerer_builds_is_there() -> None:
    code = """
import logging, sys
from airflow_provider_nenoa.airflow_internals import build_in_process_api
build_in_process_api()
print("airflow.api_fastapi.execution_api.routes.connections" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == "True"


@pytest.mark.parametrize(
    ("command", "listens"), [("triggerer", True), ("dag-processor", False), ("scheduler", False), ("tasks", False)]
)
def test_only_a_triggerer_listens(command: str, listens: bool) -> None:
    """Where anything does, Airflow refuses all DAGs with a task that a trigger may end."""
    code = """
from airflow.listeners.listener import get_listener_manager
print([type(each).__module__ for each in get_listener_manager().pm.get_plugins()])
"""
    ran = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert ("airflow_provider_nenoa.webhooks.plugin" in ran.stdout.splitlines()[-1]) is listens, ran.stdout


def test_it_is_no_plugin_of_airflow_2() -> None:
    """Airflow 3.0's API server starts with one of those only where the FAB provider is installed."""
    for name in ("flask_blueprints", "appbuilder_views", "appbuilder_menu_items"):
        assert getattr(NenoaPlugin, name) == [], name


def test_the_page_is_in_airflows_menu() -> None:
    (view,) = NenoaPlugin.external_views
    assert view["name"] == "Nenoa"
    assert view["href"] == "nenoa/page/"  # relative: Airflow's own path may have a prefix
