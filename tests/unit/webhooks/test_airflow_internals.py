"""What goes beyond Airflow's public interface must be there in every version that we support."""

from __future__ import annotations

import pytest
from airflow.configuration import conf

from airflow_provider_nenoa import airflow_internals


def test_the_engine_is_that_of_the_metadata_database() -> None:
    engine = airflow_internals.metadata_engine()
    assert engine.url.render_as_string(hide_password=False) == conf.get("database", "sql_alchemy_conn")


def test_fernet_encrypts_text_and_back() -> None:
    fernet = airflow_internals.fernet()
    assert fernet.decrypt(fernet.encrypt(b"text").decode().encode()) == b"text"


def test_a_connection_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOME", '{"conn_type": "nenai", "extra": {"webhook_secret": "s3cret"}}')
    connection = airflow_internals.server_connection("some")
    assert (connection.conn_type, connection.extra_dejson["webhook_secret"]) == ("nenai", "s3cret")


def test_metrics_can_be_sent() -> None:
    stats = airflow_internals.server_stats()
    stats.incr("nenoa.test", tags={"conn_id": "some"})
    stats.gauge("nenoa.test", 1.5)
