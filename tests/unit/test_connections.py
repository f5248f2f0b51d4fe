from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    ConnectionUnreadable,
    InvalidConnection,
    NenoaError,
)
from airflow_provider_nenoa.hooks import base
from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import PLANS, OpenAnalystHook
from tests.unit.conftest import API_KEY, WEBHOOK_SECRET, Logged, requests_to

Connect = Callable[..., str]
HOOKS: dict[str, type[VendorHook]] = {"nenai": NenAIHook, "openanalyst": OpenAnalystHook}


def test_what_a_connection_says(connect: Connect) -> None:
    conn_id = connect("openanalyst", "http://127.0.0.1:8090/v1/", extra={"webhook_secret": "s", "timeout": "7"})
    read = OpenAnalystHook(conn_id).settings
    assert (read.conn_id, read.base_url, read.api_key) == (conn_id, "http://127.0.0.1:8090/v1", API_KEY)
    assert (read.webhook_secret, read.timeout) == ("s", 7.0)
    assert OpenAnalystHook(conn_id).api.timeout == 7.0


@pytest.mark.parametrize("conn_type", HOOKS)
def test_what_a_connection_need_not_say(connect: Connect, conn_type: str) -> None:
    read = HOOKS[conn_type](connect(conn_type)).settings
    assert (
        read.base_url == {"nenai": "https://api.getnen.ai", "openanalyst": "https://api.openanalyst.com/v1"}[conn_type]
    )
    assert (read.webhook_secret, read.timeout, dict(read.extra)) == (None, 60.0, {})


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        ("openanalyst://:key-in-uri@", "https://api.openanalyst.com/v1"),
        ("openanalyst://:key-in-uri@oa.example.com/v2", "https://oa.example.com/v2"),
        ("openanalyst://:key-in-uri@oa.example.com:8443/v2/x", "https://oa.example.com:8443/v2/x"),
        ("openanalyst://http://:key-in-uri@127.0.0.1:8090/v1", "http://127.0.0.1:8090/v1"),
        ("openanalyst://:key-in-uri@https%3A%2F%2Foa.example.com%2Fv2", "https://oa.example.com/v2"),
    ],
)
def test_a_connection_in_the_form_of_a_uri(monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BY_URI", f"{uri}?webhook_secret=secret-in-uri")
    read = OpenAnalystHook("by_uri").settings
    assert (read.base_url, read.api_key, read.webhook_secret) == (base_url, "key-in-uri", "secret-in-uri")


@pytest.mark.parametrize("conn_type", HOOKS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": None}, "has no API key. Put the .* API key into its password field"),
        ({"password": "  \n"}, "has no API key"),
        ({"password": "kéy"}, "cannot be an API key"),
        ({"password": "two\nlines"}, "cannot be an API key"),
        ({"host": "http://api.example.com"}, "would travel in the clear"),
        ({"host": "ftp://api.example.com"}, "not a usable base URL"),
        ({"host": "https://user:pw@api.example.com"}, "not a usable base URL"),
        ({"host": "https://[::1"}, "not a usable base URL"),
        ({"host": "no such host"}, "not a usable base URL"),
        ({"extra": {"timeout": "soon"}}, "'timeout' is 'soon'; it must be a positive number"),
        ({"extra": {"timeout": 0}}, "'timeout' is 0; it must be a positive number"),
        ({"extra": {"timeout": -1}}, "must be a positive number"),
        ({"extra": {"timeout": "nan"}}, "must be a positive number"),
        ({"extra": {"timeout": "inf"}}, "must be a positive number"),
        ({"extra": {"timeout": [1]}}, "must be a positive number"),
    ],
)
def test_a_connection_that_cannot_be_used(
    connect: Connect, conn_type: str, fields: dict[str, Any], message: str
) -> None:
    conn_id = connect(conn_type, **fields)
    with pytest.raises(InvalidConnection, match=f"^Connection '{conn_id}'.*{message}") as caught:
        _ = HOOKS[conn_type](conn_id).settings
    assert isinstance(caught.value, AirflowFailException)
    assert "pw" not in str(caught.value)
    assert HOOKS[conn_type](conn_id).test_connection() == (False, str(caught.value))  # type: ignore[attr-defined]


@pytest.mark.parametrize("conn_type", HOOKS)
@pytest.mark.parametrize("extra", ["not JSON", "[1]", '"text"'])
def test_extra_fields_that_are_no_object(monkeypatch: pytest.MonkeyPatch, conn_type: str, extra: str) -> None:
    connection = Connection(conn_id="c", conn_type=conn_type, password=API_KEY)
    connection.extra = extra  # some versions of Airflow refuse it when a connection is made
    monkeypatch.setattr(VendorHook, "get_connection", lambda self, conn_id: connection)
    with pytest.raises(InvalidConnection, match=r"^Connection 'c': the extra field is not a JSON object"):
        _ = HOOKS[conn_type]("c").settings


@pytest.mark.parametrize("conn_type", HOOKS)
def test_a_connection_of_another_type(connect: Connect, conn_type: str) -> None:
    conn_id = connect("http", "https://api.example.com", conn_id="other")
    with pytest.raises(InvalidConnection, match=f"is of type 'http', but .* needs one of type '{conn_type}'"):
        _ = HOOKS[conn_type](conn_id).settings


@pytest.mark.parametrize("conn_type", HOOKS)
def test_no_connection(conn_type: str) -> None:
    with pytest.raises(
        ConnectionUnreadable, match=f"'nobody' could not be read.*create one of type '{conn_type}'"
    ) as e:
        _ = HOOKS[conn_type]("nobody").settings
    # Airflow says the same of a secrets backend that is down for a moment.
    assert not isinstance(e.value, AirflowFailException)


@pytest.mark.parametrize("timeout", [None, "", "60", 60, 60.5])
def test_a_form_stores_numbers_as_text_and_empty_fields_too(connect: Connect, timeout: Any) -> None:
    read = OpenAnalystHook(
        connect("openanalyst", extra={"timeout": timeout, "plan": "", "webhook_secret": ""})
    ).settings
    assert read.timeout in (60.0, 60.5)
    assert read.webhook_secret is None


def test_nothing_goes_out_with_a_bad_connection(emulator: Emulator, connect: Connect) -> None:
    for extra in ({"timeout": 0}, {"plan": "gold"}):
        hook = OpenAnalystHook(connect("openanalyst", emulator.openanalyst_url, extra=extra))
        with pytest.raises(InvalidConnection):
            hook.run_agent("a", "t")
    assert requests_to(emulator) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "host": st.none() | st.text(),
            "password": st.none() | st.text(),
            "port": st.none() | st.integers(-1, 70_000),
            "schema": st.none() | st.text(),
            "extra": st.none()
            | st.text()
            | st.dictionaries(
                st.sampled_from(["timeout", "webhook_secret", "plan", "requests_per_minute", "run_status_path"]),
                st.none() | st.text() | st.floats() | st.lists(st.integers()),
            ),
        },
    )
)
@pytest.mark.parametrize("conn_type", HOOKS)
def test_any_connection_is_read_or_refused(
    monkeypatch: pytest.MonkeyPatch, conn_type: str, fields: dict[str, Any]
) -> None:
    extra = fields.pop("extra", None)
    extra = json.dumps(extra) if isinstance(extra, dict) else extra
    connection = Connection(conn_id="c", conn_type=conn_type, extra=extra, **fields)
    monkeypatch.setattr(VendorHook, "get_connection", lambda self, conn_id: connection)
    try:
        read = HOOKS[conn_type]("c").settings
    except InvalidConnection:
        return
    read.api_key.encode("ascii")
    assert 0 < read.timeout < float("inf")


# The limits of OpenAnalyst's plans


@pytest.mark.parametrize(
    ("extra", "limits"),
    [
        ({}, (30, 500)),
        *(({"plan": plan}, limits) for plan, limits in PLANS.items()),
        ({"plan": " Pro "}, (600, 50_000)),
        ({"plan": "pro", "requests_per_minute": "10"}, (10, 50_000)),
        ({"requests_per_day": 99}, (30, 99)),
        ({"plan": "enterprise", "requests_per_minute": 5000, "requests_per_day": "1000000"}, (5000, 1_000_000)),
    ],
)
def test_limits(connect: Connect, extra: dict[str, Any], limits: tuple[float, float]) -> None:
    hook = OpenAnalystHook(connect("openanalyst", extra=extra))
    assert hook.rate_limits(hook.settings) == limits


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"plan": "gold"}, "unknown plan 'gold'. Use one of free, basic, pro, max or enterprise"),
        ({"plan": "enterprise"}, "Enterprise plan has limits of its own"),
        ({"plan": "enterprise", "requests_per_day": 5}, "Set 'requests_per_minute' and 'requests_per_day'"),
        ({"requests_per_minute": 0}, "'requests_per_minute' is 0; it must be a positive number"),
        ({"requests_per_day": "many"}, "'requests_per_day' is 'many'"),
    ],
)
def test_no_limits(connect: Connect, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConnection, match=message):
        _ = OpenAnalystHook(connect("openanalyst", extra=extra)).settings


def test_nenai_documents_no_limits(connect: Connect) -> None:
    hook = NenAIHook(connect("nenai", extra={"plan": "gold"}))
    assert hook.rate_limits(hook.settings) == (None, None)


# Secrets


@pytest.mark.parametrize("conn_type", HOOKS)
def test_secrets_are_masked_and_never_shown(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, logged: Logged, conn_type: str
) -> None:
    masked: list[str] = []
    monkeypatch.setattr(base, "mask_secret", masked.append)
    hook = HOOKS[conn_type](connect(conn_type, password=f" {API_KEY}\n", extra={"webhook_secret": WEBHOOK_SECRET}))
    assert hook.settings.api_key == API_KEY
    assert masked == [API_KEY, WEBHOOK_SECRET]
    shown = f"{hook!r} {hook} {hook.settings!r} {hook.settings} {hook.api!r} {hook.get_conn()} {logged.text}"
    assert API_KEY not in shown
    assert WEBHOOK_SECRET not in shown


@pytest.mark.parametrize("fields", [{"host": "http://api.example.com"}, {"extra": "no"}, {"extra": {"timeout": -1}}])
def test_secrets_are_not_in_the_errors(connect: Connect, logged: Logged, fields: dict[str, Any]) -> None:
    with pytest.raises(NenoaError) as caught:
        _ = OpenAnalystHook(connect("openanalyst", **fields)).settings
    assert API_KEY not in f"{caught.value!r} {caught.value} {caught.value.__cause__} {logged.text}"
