"""How workers and triggerers read the receiver: never through the database, which they must not touch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import requests
from airflow.configuration import conf
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential
from urllib3.exceptions import HTTPError

from airflow_provider_nenoa.exceptions import InvalidArgument, ReceiverUnavailable
from airflow_provider_nenoa.http import Session, reason_of
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.vendors.payloads import is_token
from airflow_provider_nenoa.webhooks import tokens
from airflow_provider_nenoa.webhooks.paths import PREFIX, is_conn_id, is_misspelled
from airflow_provider_nenoa.webhooks.records import Events, RunSummary, StoredRun

if TYPE_CHECKING:
    from requests import PreparedRequest

    from airflow_provider_nenoa.webhooks.spent import Spent
    from airflow_provider_nenoa.webhooks.wait import Wait

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a TCP and TLS connection."""
TELL_TIMEOUT = 3.0
"""Seconds for which a worker may be held up by telling that it waits."""
BATCH = 100
"""Runs asked for with one request: with longer URLs, some proxies refuse."""


class _NoAnswer(ReceiverUnavailable):
    """Nobody answered, or somebody in between said that nobody does. It may be over in a moment."""


class ReceiverClient:
    """
    Read the events of one connection. May be shared by threads.

    :param conn_id: The connection.
    :param webhook_secret: Its webhook secret: it signs the requests.
    :param base_url: Where the receiver is. Default: `receiver_url`.
    :param timeout: Seconds to wait for an answer, beyond those of a long poll. Default 10.
    :param retry_for: Seconds during which a request that got no answer is tried again. 0: one try. Default 10.
    :raises ReceiverUnavailable: From all methods, when the receiver does not answer, or refuses the secret. The
        message names the setting to change.
    """

    def __init__(
        self,
        conn_id: str,
        webhook_secret: str,
        base_url: str | None = None,
        *,
        timeout: float = 10.0,
        retry_for: float = 10.0,
    ) -> None:
        self.conn_id = checked_conn_id(conn_id)
        self.base_url = (base_url or receiver_url()).rstrip("/")
        self.timeout = timeout
        self.retry_for = retry_for
        self._secret = webhook_secret
        self._session = Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def check(self) -> None:
        """Make sure that the receiver answers and accepts the connection's secret: what is told to it can be read."""
        self.events()

    def run(
        self, run_id: str, wait: float = 0.0, *, ref: str | None = None, kind: str | None = None
    ) -> StoredRun | None:
        """
        Read a run.

        :param run_id: The vendor's id of the run.
        :param wait: Seconds to wait until it has ended; the receiver grants 30 at most.
        :param ref: The token that was given to `callback_url`: a webhook may name the run otherwise, or not at all.
        :param kind: What kind of run it is: another kind may have the same id.
        :return: Its newest state, be it an end or not; None if no webhook has told of it.
        """
        path = f"/runs/{quote(_checked_token('run id', run_id), safe='')}"
        named = {name: value for name, value in (("ref", ref), ("kind", kind)) if value is not None}
        return self._get(StoredRun.from_json, path, named, wait)

    def by_ref(self, ref: str, wait: float = 0.0) -> StoredRun | None:
        """
        Find the run that was started with a ``ref`` in its callback URL.

        :param ref: The token that was given to `callback_url`.
        :param wait: Seconds to wait until a webhook has named it or told of its end; the receiver grants 30 at most.
        :return: Its newest state; None if no webhook has told of it.
        """
        return self._get(StoredRun.from_json, f"/refs/{quote(_checked_token('ref', ref), safe='')}", wait=wait)

    def event(self, number: int) -> StoredRun | None:
        """
        Read a run or an event that is about no run, with its payload.

        :param number: The ``id`` that it has in `events`.
        :return: Its newest state; None if it is kept no longer.
        """
        return self._get(StoredRun.from_json, f"/events/{number}")

    def runs(self, run_ids: Sequence[str], refs: Sequence[str] = ()) -> list[RunSummary]:
        """
        Read where several runs stand.

        :param run_ids: The vendor's ids, any number.
        :param refs: Tokens that were given to `callback_url`, any number.
        :return: The runs that a webhook has told of, without payload, in no particular order. One may be there twice.
        """
        found: list[RunSummary] = []
        asked = [*(("id", run_id) for run_id in run_ids), *(("ref", ref) for ref in refs)]
        for start in range(0, len(asked), BATCH):
            batch = asked[start : start + BATCH]
            params = {name: [value for other, value in batch if other == name] for name in ("id", "ref")}
            found += self._get(_summaries, "/runs", params) or []
        return found

    def ended(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """Return those of several runs that have ended, as `runs` does."""
        return [run for run in self.runs(run_ids) if run.status.is_end]

    def events(self, after: int | None = None, wait: float = 0.0) -> Events:
        """
        Read what has changed.

        :param after: The cursor of an earlier answer. None: no events, just the present cursor.
        :param wait: Seconds to wait until there is something; the receiver grants 30 at most.
        :return: Runs whose state has changed since, and the next cursor. A cursor that is smaller than ``after``:
            another database stands behind the receiver now, and all that it knows counts as changed.
        """
        events = self._get(Events.from_json, "/events", {} if after is None else {"after": after}, wait)
        if events is None:
            raise self._not_the_receiver("it answered 404")
        return events

    def tell_waiting(self, waiting: Sequence[Wait], over: Sequence[str] = (), spent: Sequence[Spent] = ()) -> None:
        """
        Tell who waits for which runs, for the page in Airflow's user interface. One try: it is said again anyway.

        :param waiting: Waits that go on, `wait.BATCH` at most together with ``over``.
        :param over: The names of waits that are over.
        :param spent: What is known of the connection's plan; nothing: as it was told before.
        """
        body = {
            "waiting": [wait.to_json() for wait in waiting],
            "over": list(over),
            "spent": [each.to_json() for each in spent],
        }
        url = f"{self.base_url}/api/v1/connections/{quote(self.conn_id, safe='')}/waiting"
        try:
            answer = self._session.post(url, json=body, auth=self._sign, timeout=TELL_TIMEOUT, allow_redirects=False)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _NoAnswer(f"No answer from the webhook receiver at {self.base_url}: {reason_of(error)}.") from None
        if answer.status_code != 200:
            raise ReceiverUnavailable(
                f"The webhook receiver at {self.base_url} took no note of who waits: status {answer.status_code}."
            )

    def _get(
        self, read: Callable[[dict[str, Any]], T], path: str, params: dict[str, Any] | None = None, wait: float = 0.0
    ) -> T | None:
        retrying = Retrying(
            retry=retry_if_exception_type(_NoAnswer),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            stop=stop_after_delay(self.retry_for),
            reraise=True,
        )
        params = {**(params or {}), **({"wait": f"{wait:g}"} if wait > 0 else {})}
        body = retrying(self._get_once, path, params, wait)
        try:
            return None if body is None else read(body)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._not_the_receiver("it answered with other fields") from None

    def _get_once(self, path: str, params: dict[str, Any], wait: float) -> dict[str, Any] | None:
        url = f"{self.base_url}/api/v1/connections/{quote(self.conn_id, safe='')}{path}"
        try:
            response = self._session.get(
                url,
                params=params,
                auth=self._sign,
                timeout=(CONNECT_TIMEOUT, self.timeout + wait),
                allow_redirects=False,
            )
        except (requests.RequestException, HTTPError, OSError) as error:  # a setting can fail in forms of its own
            raise _NoAnswer(
                f"No answer from the webhook receiver at {self.base_url}: {reason_of(error)}.\nCheck that the API "
                f"server runs and that this machine can reach it there. {_WHERE}"
            ) from None
        if response.status_code == 401:
            raise ReceiverUnavailable(
                f"The webhook receiver at {self.base_url} refused the webhook_secret of connection '{self.conn_id}'.\n"
                "Check that the API server sees the same connection with the same webhook_secret (a change takes "
                "half a minute to be seen), and that the clocks of both machines agree to within a minute."
            )
        if response.status_code in (429, 502, 503, 504):
            raise _NoAnswer(
                f"The webhook receiver at {self.base_url} is not available: status {response.status_code}. The log "
                "of the API server tells more."
            )
        try:
            body = read_json(response.content).value
        except ValueError:
            body = None
        if response.status_code == 200 and isinstance(body, dict):
            return body
        if response.status_code == 404 and isinstance(body, dict) and body.get("error") == "unknown_run":
            return None
        raise self._not_the_receiver(
            f"status {response.status_code}, {response.headers.get('Content-Type') or 'no content type'}"
        )

    def _sign(self, request: PreparedRequest) -> PreparedRequest:
        # As requests' auth, not as a header: a header would give way to a .netrc entry for the host.
        request.headers["Authorization"] = f"Bearer {tokens.issue(self.conn_id, self._secret)}"
        return request

    def _not_the_receiver(self, why: str) -> ReceiverUnavailable:
        return ReceiverUnavailable(
            f"What answers at {self.base_url} is not the webhook receiver ({why}).\nCheck that airflow-provider-nenoa "
            f"is installed where the API server runs, in this version, and that the address is right. {_WHERE}"
        )


def _summaries(body: dict[str, Any]) -> list[RunSummary]:
    return [RunSummary.from_json(run) for run in body["runs"]]


_WHERE = (
    "The address is [nenoa] receiver_url; by default it follows from [core] execution_api_server_url or [api] base_url."
)


def callback_url(conn_id: str, ref: str, kind: str | None = None) -> str:
    """
    Return the URL that a vendor is given to report a run to.

    :param conn_id: The connection whose webhook secret will sign the reports.
    :param ref: A token that comes back with each report, so that a run is recognised whose id never arrived.
    :param kind: The kind of run, where the vendor has several: ids are unique within a kind only.
    :raises ReceiverUnavailable: The public address of the receiver is not configured.
    """
    base = _address("nenoa", "webhook_base_url")
    if base is None:
        server = _address("api", "base_url")
        base = server and server + PREFIX
    if base is None:
        raise ReceiverUnavailable(
            "It is not known under which address vendors can reach the webhook receiver.\n"
            f"Set [nenoa] webhook_base_url, for example to https://airflow.example.com{PREFIX}, or [api] base_url to a "
            "full address."
        )
    query = urlencode({"ref": _checked_token("ref", ref), **({"kind": kind} if kind else {})})
    return f"{base}/webhooks/{quote(checked_conn_id(conn_id), safe='')}?{query}"


def receiver_url() -> str:
    """
    Return the address at which workers and triggerers reach the receiver.

    ``[nenoa] receiver_url``; or else the API server where Airflow's own components reach it, by Airflow's own rule:
    ``[core] execution_api_server_url``, ``[api] base_url``, ``http://localhost:8080``.
    """
    if configured := _address("nenoa", "receiver_url"):
        return configured
    if execution := _address("core", "execution_api_server_url"):
        return execution.removesuffix("/execution") + PREFIX
    return (_address("api", "base_url") or "http://localhost:8080" + _path_of_base_url()) + PREFIX


def _address(section: str, option: str) -> str | None:
    """Read a full URL from the configuration. Airflow accepts a bare path as ``[api] base_url``: that is none."""
    value = str(conf.get(section, option, fallback=None) or "").strip().rstrip("/")
    if not value or (section == "api" and value.startswith("/")):
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ReceiverUnavailable(
            f"[{section}] {option} is {value!r}, which is no address.\nWrite it with https:// or http:// and the host."
        )
    return value


def _path_of_base_url() -> str:
    return str(conf.get("api", "base_url", fallback=None) or "").strip().rstrip("/")


def checked_conn_id(conn_id: str) -> str:
    """
    Return a connection's id, if a connection of this name can have webhooks.

    :raises InvalidArgument: It cannot, or not under this spelling.
    """
    if not is_conn_id(conn_id):
        raise InvalidArgument(
            f"A connection named {conn_id!r} cannot have webhooks: its id must be made of letters, digits and _.:#!()-"
        )
    if is_misspelled(conn_id):
        raise InvalidArgument(
            f"Connection {conn_id!r} comes from the environment, where the receiver knows it in lower case only.\n"
            f"Write {conn_id.upper().lower()!r} instead: Airflow finds it under this name too."
        )
    return conn_id


def _checked_token(what: str, text: str) -> str:
    if not is_token(text):
        raise InvalidArgument(f"{text!r} cannot be a {what}: it must be up to 200 letters, digits and ._:~+=@-")
    return text
