from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

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
from airflow_provider_nenoa.http import base_url_of
from airflow_provider_nenoa.webhooks.connections import read_sender
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


DEFAULT = "https://api.openanalyst.com/v1"


@pytest.mark.parametrize(
    ("host", "port", "schema", "base_url"),
    [
        (None, None, None, DEFAULT),
        ("", 0, "", DEFAULT),
        (None, 0, None, DEFAULT),
        (None, 443, None, DEFAULT),
        ("", "443", None, DEFAULT),
        ("  oa.test \n", None, None, "https://oa.test"),
        ("oa.test", 8443, None, "https://oa.test:8443"),
        ("oa.test", "8443", None, "https://oa.test:8443"),
        ("oa.test", 1, None, "https://oa.test:1"),
        ("oa.test", 65_535, None, "https://oa.test:65535"),
        ("oa.test/v2", 8443, None, "https://oa.test:8443/v2"),
        ("https://oa.test/v2/", 8443, None, "https://oa.test:8443/v2"),
        ("oa.test:8443/v2", 8443, "v2", "https://oa.test:8443/v2"),
        ("oa.test:8443", None, "/v2/x/", "https://oa.test:8443/v2/x"),
        ("oa.test:", 8443, None, "https://oa.test:8443"),
        ("https://oa.test/", None, "v2", "https://oa.test/v2"),
        ("oa.test", None, "https", "https://oa.test"),
        ("localhost", 8090, "http", "http://localhost:8090"),
        ("localhost/v1", 8090, "HTTP", "http://localhost:8090/v1"),
        ("https://oa.test", 443, "https", "https://oa.test:443"),
        ("::1", None, None, "https://[::1]"),
        ("::1", 8090, "v1", "https://[::1]:8090/v1"),
        ("[::1]", 8090, "http", "http://[::1]:8090"),
        ("[::1]:8090/v1", None, None, "https://[::1]:8090/v1"),
        ("http://[::1]/v1", 8090, None, "http://[::1]:8090/v1"),
        ("2001:db8::1/v1", 8443, None, "https://[2001:db8::1]:8443/v1"),
        ("2001:db8::8443", None, None, "https://[2001:db8::8443]"),
    ],
)
def test_host_port_and_schema(connect: Connect, host: str | None, port: Any, schema: str | None, base_url: str) -> None:
    assert OpenAnalystHook(connect("openanalyst", host, port=port, schema=schema)).settings.base_url == base_url


@pytest.mark.parametrize(
    ("host", "port", "schema", "message"),
    [
        ("oa.test:8443", 9443, None, "port is 9443, but its host says 8443"),
        ("https://oa.test:8443/v1", 443, None, "port is 443, but its host says 8443"),
        ("oa.test/v1", None, "v2", "schema is 'v2', but its host says 'v1'"),
        ("http://localhost", None, "https", "schema is 'https', but its host says 'http'"),
        ("oa.test", 70_000, None, "port is 70000, and no host has such a one"),
        ("oa.test", 65_536, None, "port is 65536, and no host has such a one"),
        ("oa.test", -1, None, "port is -1, and no host has such a one"),
        (None, 8443, None, "has a port, but no host"),
        (None, None, "v2", "has a schema, but no host"),
        ("oa.test", None, "v2?key=1", "schema is 'v2.key=1', which is no path"),
        ("oa.test", None, "v 2", "schema is 'v 2', which is no path"),
        ("oa.test", None, "v2#x", "schema is 'v2#x', which is no path"),
        ("oa.test", None, "https://oa.test/v1", "schema is 'https://oa.test/v1', which is no path"),
        ("oa..test", None, None, "host is not a usable base URL"),
        ("a" * 64 + ".test", None, None, "host is not a usable base URL"),
        ("oa.test", None, "http", "would travel in the clear"),
        ("https//oa.test/v1", None, None, "host is not a usable base URL"),
        ("https://https://oa.test", None, None, "host is not a usable base URL"),
        ("https://::1/v1", 8090, None, "host is not a usable base URL"),
        ("https:///v1", None, None, "host is not a usable base URL"),
        ("oa.test:0", None, None, "host is not a usable base URL"),
        ("oa.test\\v1", None, None, "host is not a usable base URL"),
        ("user:pw@oa.test", 8443, None, "host is not a usable base URL"),
    ],
)
def test_host_port_and_schema_that_do_not_fit(
    connect: Connect, host: str | None, port: Any, schema: str | None, message: str
) -> None:
    with pytest.raises(InvalidConnection, match=f"^Connection 'my_openanalyst': it.*{message}") as e:
        _ = OpenAnalystHook(connect("openanalyst", host, port=port, schema=schema)).settings
    assert "pw" not in str(e.value)


@pytest.mark.parametrize("port", ["0", "x", "1.5", True, [80]])
def test_a_port_that_is_none(port: Any) -> None:
    with pytest.raises(
        InvalidConnection, match=rf"^its port is {re.escape(repr(port))}, and no host has such a one\.\n"
    ):
        base_url_of("oa.test", port, None, DEFAULT)


@given(
    host=st.sampled_from(["oa.test", "10.0.0.1", "::1", "[2001:db8::1]", "localhost"]),
    scheme=st.sampled_from(["", "https://"]),
    ports=st.tuples(st.none() | st.integers(1, 65535), st.none() | st.integers(1, 65535)),
    paths=st.tuples(st.sampled_from(["", "/", "/v1", "/v1/x/"]), st.sampled_from([None, "", "v1", "/v1/x", "v2"])),
)
def test_the_parts_come_back_as_they_were_given(
    host: str, scheme: str, ports: tuple[int | None, int | None], paths: tuple[str, str | None]
) -> None:
    bare = host.strip("[]")
    written = f"[{bare}]" if ":" in bare and (scheme or ports[0]) else host
    text = f"{scheme}{written}{f':{ports[0]}' if ports[0] else ''}{paths[0]}"
    given_ports, given_paths = {port for port in ports if port}, {(path or "").strip("/") for path in paths} - {""}
    if len(given_ports) > 1 or len(given_paths) > 1:
        with pytest.raises(InvalidConnection, match="but its host says"):
            base_url_of(text, ports[1], paths[1], DEFAULT)
        return
    parts = urlsplit(base_url_of(text, ports[1], paths[1], DEFAULT))
    assert (parts.scheme, parts.hostname) == ("https", bare)
    assert {parts.port} - {None} == given_ports
    assert {parts.path.strip("/")} - {""} == given_paths


@pytest.mark.parametrize("conn_type", HOOKS)
def test_the_attribute_that_lineage_looks_for(connect: Connect, conn_type: str) -> None:
    hook = HOOKS[conn_type](connect(conn_type))
    assert getattr(hook, hook.conn_name_attr) == hook.conn_id == f"my_{conn_type}"


@pytest.mark.parametrize("plan", ["pro\n", " PRO ", "pro"])
def test_space_around_a_setting_is_not_part_of_it(connect: Connect, plan: str) -> None:
    hook = OpenAnalystHook(connect("openanalyst", extra={"plan": plan, "timeout": " 7\n"}))
    assert hook.rate_limits(hook.settings) == PLANS["pro"]
    assert hook.settings.timeout == 7


@pytest.mark.parametrize("value", [["pro"], {"a": 1}, True])
def test_a_setting_that_is_no_text(connect: Connect, value: Any) -> None:
    with pytest.raises(InvalidConnection, match=r"the extra field 'plan' is .*; it must be a text"):
        _ = OpenAnalystHook(connect("openanalyst", extra={"plan": value})).settings
    with pytest.raises(InvalidConnection, match=r"the extra field 'timeout' is .*; it must be a positive number"):
        _ = OpenAnalystHook(connect("openanalyst", extra={"timeout": value})).settings


@pytest.mark.parametrize("conn_type", HOOKS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": None}, "has no API key.\\nPut the .* API key into its password field"),
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
        ({"extra": {"private_file_hosts": ["minio.corp"]}}, "'private_file_hosts' is .*; it must be a text"),
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


def test_a_misspelled_extra_field_is_told(connect: Connect, logged: Logged) -> None:
    extra = {"webhok_secret": "s3cret", "Plan": "pro", "plan": "free", "team": "sales", "timeout": 5}
    _ = OpenAnalystHook(connect("openanalyst", extra=extra)).settings
    told = [line for line in logged.text.splitlines() if "is not used" in line]
    assert len(told) == 2
    for wrong, right in (("webhok_secret", "webhook_secret"), ("Plan", "plan")):
        assert f"has an extra field '{wrong}', which is not used: is '{right}' meant?" in logged.text
    assert "s3cret" not in logged.text


@pytest.mark.parametrize("conn_type", HOOKS)
def test_a_connection_of_another_type(connect: Connect, conn_type: str) -> None:
    conn_id = connect("http", "https://api.example.com", conn_id="other")
    with pytest.raises(InvalidConnection, match=f"is of type 'http', but .* needs one of type '{conn_type}'"):
        _ = HOOKS[conn_type](conn_id).settings


@pytest.mark.parametrize("conn_type", HOOKS)
def test_no_connection(conn_type: str) -> None:
    with pytest.raises(
        ConnectionUnreadable, match=f"'nobody' could not be read.*\\n.*create one of type '{conn_type}'"
    ) as e:
        _ = HOOKS[conn_type]("nobody").settings
    # Airflow says the same of a secrets backend that is down for a moment.
    assert not isinstance(e.value, AirflowFailException)


@pytest.mark.parametrize("conn_type", HOOKS)
def test_private_hosts(connect: Connect, conn_type: str) -> None:
    guard = HOOKS[conn_type](connect(conn_type, extra={"private_file_hosts": " Minio.corp,, *.s3.corp\n"})).file_guard()
    assert (guard.private_hosts, guard.loopback) == (("minio.corp", "*.s3.corp"), False)
    emulated = HOOKS[conn_type](connect(conn_type, "http://127.0.0.1:8090")).file_guard()
    assert (emulated.private_hosts, emulated.loopback) == ((), True)


@pytest.mark.parametrize("timeout", [None, "", "60", 60, 60.5])
def test_a_form_stores_numbers_as_text_and_empty_fields_too(connect: Connect, timeout: Any) -> None:
    read = OpenAnalystHook(
        connect("openanalyst", extra={"timeout": timeout, "plan": "", "webhook_secret": ""})
    ).settings
    assert read.timeout in (60.0, 60.5)
    assert read.webhook_secret is None


def test_webhook_secrets_are_read_as_the_receiver_reads_them_and_both_are_masked(
    connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: list[str] = []
    monkeypatch.setattr(base, "mask_secret", masked.append)
    conn_id = connect("nenai", extra={"webhook_secret": 1234567, "webhook_secret_previous": " old secret\r\n"})
    assert NenAIHook(conn_id).settings.webhook_secret == "1234567"
    assert read_sender(conn_id).secrets == ("1234567", "old secret")
    assert {"1234567", "old secret"} <= set(masked)


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
        ({"plan": "gold"}, "unknown plan 'gold'.\\nUse one of free, basic, pro, max or enterprise"),
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
