"""Both emulated vendors, our own receiver, and connections that know both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.triggers import base as triggers
from airflow_provider_nenoa.waiting import poll_source, webhook_source
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from tests.support.receiver import SENDERS, ReceiverThread, open_store

API_KEY = "oa_live_acme_verysecretkey"
PLENTY = {"requests_per_minute": 10**6, "requests_per_day": 10**9}


@pytest.fixture(scope="session")
def emulator_server() -> Iterator[Emulator]:
    with Emulator(plan="unlimited") as emulator:
        yield emulator


@pytest.fixture(scope="session")
def webhook_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverThread]:
    directory: Path = tmp_path_factory.mktemp("receiver")
    with ReceiverThread(open_store(f"sqlite:///{directory}/events.db")) as receiver:
        yield receiver


@pytest.fixture
def emulator(emulator_server: Emulator) -> Emulator:
    """Runs take a twentieth of a second, and webhooks are signed with the secrets of `SENDERS`."""
    control = emulator_server.control
    control.reset()
    control.settings(
        agent={"seconds": 0.05},
        workflow={"seconds": 0.05},
        query={"seconds": 0.05},
        openanalyst_webhook_secret=SENDERS["oa"].secret,
        nenai_webhook_secret=SENDERS["nen"].secret,
        retry_base_seconds=0.05,
    )
    return emulator_server


@pytest.fixture
def told(emulator: Emulator, webhook_receiver: ReceiverThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections ``oa`` and ``nen`` have webhooks."""
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", webhook_receiver.url)
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", webhook_receiver.url)
    _connect(emulator, monkeypatch, webhooks=True)


@pytest.fixture
def polled(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections ``oa`` and ``nen`` have no webhooks; NenAI can be polled."""
    emulator.control.settings(run_status_path=True)
    _connect(emulator, monkeypatch, webhooks=False)


def _connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, webhooks: bool) -> None:
    hosts = {"oa": emulator.openanalyst_url, "nen": emulator.nenai_url}
    extras = {"oa": PLENTY, "nen": {} if webhooks else {"run_status_path": "/runs/{message_id}"}}
    for conn_id, host in hosts.items():
        secret = {"webhook_secret": SENDERS[conn_id].secret} if webhooks else {}
        connection = {"conn_type": SENDERS[conn_id].conn_type, "host": host, "password": API_KEY}
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**connection, "extra": {**extras[conn_id], **secret}})
        )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than it takes."""
    monkeypatch.setattr(triggers, "SETTLE", 0.0)
    monkeypatch.setattr(webhook_source, "LONG_POLL", 0.5)  # else a thread would hold the process that long at its end

    monkeypatch.setitem(ReceiverClient.__init__.__kwdefaults__, "retry_for", 0.0)

    async def back_off(failures: int) -> None:
        await asyncio.sleep(0.02)

    for module in (poll_source, webhook_source):
        monkeypatch.setattr(module, "back_off", back_off)
