from __future__ import annotations

import subprocess
import sys

from airflow.plugins_manager import AirflowPlugin
from starlette.applications import Starlette
from starlette.testclient import TestClient

from airflow_provider_nenoa.webhooks import app
from airflow_provider_nenoa.webhooks.plugin import LazyReceiver, NenoaPlugin


def test_it_is_what_airflow_asks_of_a_plugin() -> None:
    assert issubclass(NenoaPlugin, AirflowPlugin)
    (mounted,) = NenoaPlugin.fastapi_apps
    assert mounted["url_prefix"] == "/nenoa"
    assert callable(mounted["app"])


def test_importing_it_loads_nothing_of_the_receiver() -> None:
    code = """
import sys
from airflow.plugins_manager import AirflowPlugin
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
