"""
Hostile requests against the whole receiver: some hundreds with the other tests, as many as one likes by ``make fuzz``.

The app is called as a server calls it, so that a request may be what no client library sends.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event

from airflow_provider_nenoa.webhooks import bodies, read_api, refusals, tokens
from airflow_provider_nenoa.webhooks.app import Receiver
from airflow_provider_nenoa.webhooks.connections import Senders
from airflow_provider_nenoa.webhooks.store import Store
from tests.support.receiver import FERNET, SENDERS, signed

INPUTS = int(os.environ.get("NENOA_FUZZ", "250"))
"""Requests to make."""


@dataclass
class Answer:
    """What the app sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class Door:
    """The receiver in an event loop of its own, asked with one request after the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.receiver = Receiver(store, Senders(SENDERS.__getitem__))
        self._app = self.receiver.app()
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def ask(self, request: dict[str, Any], chunks: list[bytes], *, hangs_up: bool) -> Answer | None:
        return self._runner.run(self._ask(request, chunks, hangs_up))

    async def _ask(self, request: dict[str, Any], chunks: list[bytes], hangs_up: bool) -> Answer | None:
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for number, chunk in enumerate(chunks, 1):
            more = hangs_up or number < len(chunks)
            inbox.put_nowait({"type": "http.request", "body": chunk, "more_body": more})
        if hangs_up:
            for _ in range(3):
                inbox.put_nowait({"type": "http.disconnect"})
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async with asyncio.timeout(20):  # it must not hang
            await self._app({"type": "http", "http_version": "1.1", **request}, inbox.get, send)
        start, *rest = sent
        assert start["type"] == "http.response.start"
        assert all(message["type"] == "http.response.body" for message in rest)
        assert rest
        assert not rest[-1].get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest))

    def assert_at_rest(self) -> None:
        """See that nothing of the requests is left."""
        gate = self.receiver._inbound._gate
        assert (gate._bodies._all.size, gate._bodies._of_one) == (0, {})
        assert gate._senders._lookups == {}
        assert self.receiver._read_api._polls._waiting.total() == 0


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    path: Path = tmp_path_factory.mktemp("fuzz")
    engine = create_engine(f"sqlite:///{path}/events.db")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    door = Door(Store(engine, FERNET))  # type: ignore[arg-type]
    door.store.cursor()  # its tables are made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusals, "REFUSAL_TIMES", (0.0,))
        patch.setattr(read_api, "MAX_WAIT", 0.01)
        yield door
    door.assert_at_rest()
    door.close()


ODD = st.sampled_from(
    [
        *("nen", "oa", "short", "nobody", "NEN", "m-1", "r-1", ""),
        *("\0", "a\0b", "nen\0", "..", "../..", "%00", "%2F", "nen%2Fx", "a/b", "//", "\\", "ü", "\u2028", "🦆"),
        *("x" * 251, "x" * 5000, "'", '"; drop table nenoa_run; --', "{}", "1e999", "9" * 40, "-1", "nan", "inf"),
    ]
)
TEXT = ODD | st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
RAW = TEXT.map(lambda text: quote(text, safe="/%&=")) | st.sampled_from(["%ED%A0%80", "%FF", "%", "%0", "%C0%80"])
NAMES = st.sampled_from(["ref", "kind", "wait", "after", "id", "x"])
QUERY = st.lists(st.tuples(NAMES, RAW), max_size=4).map(lambda pairs: "&".join(f"{a}={b}" for a, b in pairs).encode())
SEGMENT = st.sampled_from([*SENDERS, "nobody"]) | TEXT
PATH = st.one_of(
    SEGMENT.map("/webhooks/{}".format),
    st.tuples(SEGMENT, st.sampled_from(["runs", "refs", "events"]), TEXT).map(
        "/api/v1/connections/{0[0]}/{0[1]}/{0[2]}".format
    ),
    st.tuples(SEGMENT, st.sampled_from(["runs", "events", "waiting"])).map("/api/v1/connections/{0[0]}/{0[1]}".format),
    st.sampled_from(
        ["/health", "/health/", "/ready", "/", "", "//evil.test/health", "/page/", "/docs", "/openapi.json"]
    ),
    TEXT.map("/{}".format),
)
METHOD = st.sampled_from(
    ["POST"] * 6 + ["GET"] * 6 + ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "X"]
)
LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "a\0", 10**400])
)
FIELDS = st.sampled_from(
    ["message_id", "messageId", "run_id", "query_id", "id", "status", "success", "data", "event", "waiting", "over"]
)
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=5), max_leaves=10
)
BODY = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b'{"message_id": "m-1", "status": "success"}',
            b"[" * 100_000,
            b"[" * 5_000 + b"]" * 5_000,
            b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
            b"9" * 20_000,
            b"[" + b"9E15," * 5_000 + b"1]",
            b"\xef\xbb\xbf{}",
            b'{"run_id": "\xed\xa0\x80"}',
            b" " * (bodies.MAX_BODY + 1),
        ]
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "content-type",
                "content-length",
                "content-encoding",
                "transfer-encoding",
                "host",
                "accept",
                "expect",
                "x-hmac-signature",
            ]
        ),
        st.sampled_from(
            [
                *(
                    "",
                    "application/json",
                    "multipart/form-data; boundary=x",
                    "text/xml",
                    "gzip",
                    "chunked",
                    "-1",
                    "0",
                    "1e3",
                ),
                *("9" * 30, "evil.test", "100-continue", "sha256=" + "0" * 64, "sha256=", "\xff\xfe", "x" * 40_000),
            ]
        ).map(lambda text: text.encode("latin-1"))
        | st.binary(max_size=20),
    ),
    max_size=4,
)
PROOF = st.sampled_from(["none", "honest", "honest", "other body", "other secret", "other connection", "garbage"])


def proof_of(kind: str, conn_id: str, body: bytes, garbage: bytes) -> dict[str, bytes]:
    """Return a signature and a token of one kind."""
    if kind == "none":
        return {}
    if kind == "garbage":
        return {"X-Hmac-Signature": garbage, "X-OpenAnalyst-Signature": garbage, "Authorization": b"Bearer " + garbage}
    known = conn_id if conn_id in SENDERS else "nen"
    signer = {"other connection": "oa" if known == "nen" else "nen"}.get(kind, known)
    name, value = next(iter(signed(signer, body + b" " * (kind == "other body")).items()))
    secret = "another" if kind == "other secret" else SENDERS[signer].secret
    if kind == "other secret":
        value = value[:-8] + "00000000"
    audience = "another" if kind == "other body" else conn_id
    return {name: value.encode(), "Authorization": b"Bearer " + tokens.issue(audience, secret).encode()}


@settings(max_examples=INPUTS, database=None, suppress_health_check=list(HealthCheck))
@given(
    method=METHOD,
    path=PATH,
    query=QUERY,
    headers=HEADERS,
    body=BODY,
    proof=PROOF,
    garbage=st.binary(max_size=80),
    cut=st.integers(0, 100),
    hangs_up=st.sampled_from([False] * 9 + [True]),
)
def test_nobody_gets_in_and_nothing_breaks(
    door: Door,
    method: str,
    path: str,
    query: bytes,
    headers: list[tuple[str, bytes]],
    body: bytes,
    proof: str,
    garbage: bytes,
    cut: int,
    hangs_up: bool,
) -> None:
    conn_id = (
        path.split("/")[2 if path.startswith("/webhooks/") else 4]
        if path.count("/") >= 4 or "/webhooks/" in path
        else ""
    )
    proofs = proof_of(proof, conn_id, body, garbage)
    raw = [(name.lower().encode(), value) for name, value in proofs.items()]
    raw += [(name.encode(), value) for name, value in headers if name not in {each.lower() for each in proofs}]
    request = {"method": method, "path": path, "raw_path": quote(path).encode(), "query_string": query, "headers": raw}
    before = door.store.cursor()
    answer = door.ask(request, [body[:cut], body[cut:]], hangs_up=hangs_up)
    assert answer is not None
    assert answer.status < 500, (answer.status, answer.body)
    assert "location" not in answer.headers
    # The third is one letter: it stands in answers by chance.
    assert not any(SENDERS[name].secret.encode() in answer.body for name in ("nen", "oa"))
    is_honest = proof == "honest" and conn_id in SENDERS
    if not is_honest:
        assert door.store.cursor() == before, "a forgery was stored"
        if path.startswith(("/webhooks/", "/api/")):
            assert answer.status >= 400, "a forgery was accepted"
    elif method == "POST" and path == f"/webhooks/{conn_id}" and not hangs_up:
        assert answer.status in (200, 400, 413, 429, 431)
        assert (door.store.cursor() > before) == (answer.status == 200)
