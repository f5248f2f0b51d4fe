"""Airflow's connection form: our types, our fields, and the Test button."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.e2e.conftest import API_KEY, WRONG_KEY
from tests.support.local_airflow import LocalAirflow


@pytest.mark.parametrize("conn_type", ["nenai", "openanalyst"])
@pytest.mark.parametrize(("key", "good"), [(API_KEY, True), (WRONG_KEY, False)])
def test_the_test_button_tells_whether_the_key_is_good(
    airflow: LocalAirflow, emulator: Emulator, conn_type: str, key: str, good: bool
) -> None:
    host = emulator.nenai_url if conn_type == "nenai" else emulator.openanalyst_url
    answer = airflow.api.post(
        "/connections/test", {"connection_id": "tried", "conn_type": conn_type, "host": host, "password": key}
    )
    assert answer["status"] is good, answer
    assert host in answer["message"] if good else "API key" in answer["message"]
    assert key not in answer["message"]
    assert sum(emulator.control.counts()["runs_started"].values()) == 0


@pytest.mark.parametrize(
    ("conn_type", "fields"),
    [
        ("nenai", {"webhook_secret", "run_status_path", "timeout"}),
        ("openanalyst", {"webhook_secret", "plan", "requests_per_minute", "requests_per_day", "timeout"}),
    ],
)
def test_the_form_has_our_fields(airflow: LocalAirflow, conn_type: str, fields: set[str]) -> None:
    metadata: list[dict[str, Any]] = airflow.api.form_metadata()
    (form,) = [form for form in metadata if form["connection_type"] == conn_type]
    assert fields <= set(form["extra_fields"])
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert form["extra_fields"]["webhook_secret"]["schema"]["format"] == "password"
    assert all(field["schema"]["title"] and field["description"] for field in form["extra_fields"].values())
