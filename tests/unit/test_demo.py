from __future__ import annotations

import json

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from dev.demo import with_port


def test_connections_have_the_port_that_the_test_button_wants(
    emulator_server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator_server.airflow_connections().items():
        connection = with_port(json.loads(value))
        assert connection["port"]
        monkeypatch.setenv(name, json.dumps(connection))
    assert OpenAnalystHook("openanalyst_default").settings.base_url == emulator_server.openanalyst_url
    assert NenAIHook("nenai_default").settings.base_url == emulator_server.nenai_url
