"""
All that both vendors' hooks share about HTTP: sessions, time-outs, retries, ``Retry-After`` and error bodies.

Two rules shape this module. A GET may be repeated freely. A POST that starts something is repeated only when the
vendor surely did not act on it: no connection was made, 429, or 503 with ``Retry-After``. Whatever else goes wrong
after the request went out is `StartOutcomeUnknown`, never a second POST.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from urllib3.exceptions import MaxRetryError, NewConnectionError
from urllib3.exceptions import SSLError as TlsError

from airflow_provider_nenoa import __version__
from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    InvalidConnection,
    InvalidReply,
    InvalidRequest,
    NenoaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
)

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a TCP and TLS connection."""
RETRY_FOR = 300.0
"""Seconds during which one call is tried again, the waiting for ``Retry-After`` included."""
QUOTED = 300
"""Characters of a vendor's words that an error message repeats, at most."""

_backoff = wait_random_exponential(multiplier=0.5, max=30)


class ApiKeyAuth(AuthBase):
    """
    Put an API key into one header.

    :param header: The header's name.
    :param value: Its whole value.
    """

    def __init__(self, header: str, value: str) -> None:
        self.header = header
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self.header] = self.value
        return request


class HttpApi:
    """
    One vendor's JSON API over one pooled session.

    :param vendor: The vendor's name, for messages.
    :param base_url: Where the API is; paths are appended to it. See `check_base_url`.
    :param auth: Puts the credentials into each request.
    :param secrets: Texts that must never show up in an error message, should the vendor echo them.
    :param timeout: Seconds to wait for an answer once connected. Default 60.
    :param retry_for: Seconds during which a call is tried again, waiting included. 0: one try. Default 300.
    :param on_response: Called with every response, whatever its status: for rate-limit headers.
    :param sleep: Replaces `time.sleep` in tests.
    """

    def __init__(
        self,
        vendor: str,
        base_url: str,
        auth: AuthBase | None,
        *,
        secrets: Iterable[str] = (),
        timeout: float = 60.0,
        retry_for: float = RETRY_FOR,
        on_response: Callable[[requests.Response], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.vendor = vendor
        self.base_url = check_base_url(base_url)
        self.auth = auth
        self.timeout = timeout
        self.retry_for = retry_for
        self.on_response = on_response
        self._secrets = tuple(secret for secret in secrets if secret)
        self._sleep = sleep
        self._session = self._new_session()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        GET a JSON object, trying again on lost connections, 429 and 5xx.

        :param path: The path below the base URL, for example ``/datasets``.
        :param params: Query parameters; those that are None are left out.
        :return: The vendor's answer.
        :raises NenoaError: The subclass that fits what the vendor answered, or `ConnectionFailed`, `InvalidReply`.
        """

        def once() -> dict[str, Any]:
            try:
                response = self._send(self._session, "GET", path, params=params)
            except requests.RequestException as error:
                raise self._connection_failed("GET", path, error) from None
            return self._object(response, "GET", path)

        return self._retry(once)

    def start(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        auth: AuthBase | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """
        POST a request that starts something, at most once as far as the vendor's acting on it goes.

        It goes over a connection of its own: on one from the pool that the vendor has just closed, nobody could
        tell whether the request had been read.

        :param path: The path below the base URL.
        :param body: The JSON object to send.
        :param auth: Signs this request after the API key was put into it.
        :param before_send: Called immediately before the request goes out, also before each repetition.
        :return: The vendor's answer.
        :raises StartOutcomeUnknown: The request went out and no clear answer came.
        :raises NenoaError: The subclass that fits a refusal. Nothing was started.
        """

        def once() -> dict[str, Any]:
            with self._new_session() as session:
                for scheme in ("https://", "http://"):
                    session.mount(scheme, _AnnouncingAdapter(before_send))
                try:
                    response = self._send(session, "POST", path, json=dict(body), extra_auth=auth)
                except requests.RequestException as error:
                    if _never_connected(error):
                        raise self._connection_failed("POST", path, error) from None
                    raise self._outcome_unknown(path, reason_of(error)) from None
                try:
                    return self._object(response, "POST", path)
                except InvalidReply as error:
                    raise self._outcome_unknown(path, str(error)) from None
                except ServerError as error:
                    if response.status_code == 503 and error.retry_after is not None:
                        raise
                    raise self._outcome_unknown(path, str(error), error) from None

        return self._retry(once)

    def probe(self, method: str, path: str, json: Any = None) -> requests.Response:
        """
        Send one request and return whatever came back, for a connection test.

        :raises ConnectionFailed: No answer came.
        """
        try:
            return self._send(self._session, method, path, json=json)
        except requests.RequestException as error:
            raise self._connection_failed(method, path, error) from None

    def error_of(self, response: requests.Response) -> NenoaError:
        """Translate an answer that is not 2xx into the error that says what it means."""
        method, path = response.request.method or "?", urlsplit(response.url).path
        code, message, request_id = _error_body(response)
        words = ": ".join(part for part in (code, message) if part) or "no explanation"
        kind, advice = _MEANING.get(response.status_code) or _meaning_of_class(response.status_code)
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        text = f"{self.vendor} answered {response.status_code} to {method} {path}: {words}"
        if request_id:
            text += f" (request id {request_id})"
        if retry_after is not None:
            text += f". It will listen again in {retry_after:g} s"
        return kind(
            self._scrub(f"{text}. {advice}"),
            http_status=response.status_code,
            code=code,
            request_id=request_id,
            retry_after=retry_after,
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.headers["User-Agent"] = f"airflow-provider-nenoa/{__version__}"
        session.headers["Accept"] = "application/json"
        # A .netrc entry for the host must not replace the connection's key; proxies are still honoured by _send.
        session.trust_env = False
        return session

    def _send(
        self,
        session: requests.Session,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        extra_auth: AuthBase | None = None,
    ) -> requests.Response:
        url = self.base_url + path
        request = session.prepare_request(
            requests.Request(method, url, params=dict(params or {}), json=json, auth=self.auth)
        )
        if extra_auth is not None:
            request = extra_auth(request)
        response = session.send(
            request,
            timeout=(CONNECT_TIMEOUT, self.timeout),
            # The API key travels in a header that requests would carry along to wherever it is sent.
            allow_redirects=False,
            proxies=requests.utils.get_environ_proxies(url),
            verify=_ca_bundle(),
        )
        if self.on_response is not None:
            self.on_response(response)
        return response

    def _object(self, response: requests.Response, method: str, path: str) -> dict[str, Any]:
        if not 200 <= response.status_code < 300:
            raise self.error_of(response)
        try:
            body = response.json()
        except (ValueError, RecursionError):
            raise InvalidReply(
                self._scrub(
                    f"{self.vendor} answered {response.status_code} to {method} {path} with something that is not "
                    f"JSON: {response.text[:QUOTED]!r}. Check that the connection's host is the API's base URL."
                )
            ) from None
        if not isinstance(body, dict):
            raise InvalidReply(
                f"{self.vendor} answered {method} {path} with a JSON {type(body).__name__} instead of an object."
            )
        return body

    def _retry(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return Retrying(
            retry=retry_if_exception_type((ConnectionFailed, RateLimited, ServerError)),
            wait=_wait,
            stop=_stop_before(self.retry_for),
            sleep=self._sleep,
            before_sleep=self._log_retry,
            reraise=True,
        )(call)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s Trying again in %.1f s.", error, state.upcoming_sleep)

    def _connection_failed(self, method: str, path: str, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            self._scrub(
                f"No answer from {self.vendor} to {method} {path} at {self.base_url}: {reason_of(error)}. Check the "
                "connection's host, and whether this machine can reach it."
            )
        )

    def _outcome_unknown(self, path: str, why: str, error: NenoaError | None = None) -> StartOutcomeUnknown:
        return StartOutcomeUnknown(
            self._scrub(
                f"{self.vendor} may or may not have acted on POST {path}: no clear answer came ({why}). It was not "
                "sent again, because that could start the same work twice."
            ),
            http_status=error.http_status if error else None,
            code=error.code if error else None,
            request_id=error.request_id if error else None,
        )

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _AnnouncingAdapter(HTTPAdapter):
    """Calls back at the last moment before a request goes out."""

    def __init__(self, before_send: Callable[[], None] | None) -> None:
        super().__init__()
        self._before_send = before_send

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        if self._before_send is not None:
            self._before_send()
        return super().send(*args, **kwargs)


def check_base_url(url: str) -> str:
    """
    Accept an https URL, or http on a loopback host, and take the slash off its end.

    :raises InvalidConnection: Anything else: the API key must not travel in the clear.
    """
    try:
        parts = urlsplit(url)
        requests.Request("GET", url).prepare()  # whatever it refuses, it must not refuse in the midst of a start
        valid = parts.scheme in ("http", "https") and "@" not in parts.netloc and not parts.query + parts.fragment
    except ValueError:
        valid = False
    if not valid:
        raise InvalidConnection(
            "The connection's host is not a usable base URL. Write it like https://api.example.com/v1, "
            "without credentials, query or fragment."
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidConnection(
            f"The connection's host is http://{parts.hostname}: the API key would travel in the clear. Use https; "
            "http is accepted for a loopback host only."
        )
    return url.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """
    Read a ``Retry-After`` header, given in seconds or as an HTTP date.

    :param value: The header's text, or None if there was none.
    :param now: The present time, for tests.
    :return: Seconds from now, never negative; None if there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _error_body(response: requests.Response) -> tuple[str | None, str | None, str | None]:
    """Code, message and request id of an error, in either vendor's form."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return None, response.text[:QUOTED].strip() or None, response.headers.get("X-Request-Id")
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    code = inner.get("code") if isinstance(error, dict) else error
    request_id = body.get("request_id") or inner.get("request_id") or response.headers.get("X-Request-Id")
    message = inner.get("message")
    code, message, request_id = (str(part)[:QUOTED] if part else None for part in (code, message, request_id))
    return code, message, request_id


_MEANING: dict[int, tuple[type[NenoaError], str]] = {
    401: (AuthenticationError, "Check the API key: it is the password of the Airflow connection."),
    403: (PermissionDenied, "The API key has no permission for this. Use a key that has, or ask for it."),
    404: (NotFound, "Check the id, and that it belongs to the workspace of the connection's API key."),
    429: (RateLimited, "The workspace's rate limit is used up. Start fewer jobs at once, or take a larger plan."),
}


def _meaning_of_class(status_code: int) -> tuple[type[NenoaError], str]:
    if status_code >= 500:
        return ServerError, "This is an error at the vendor's end. If it lasts, tell their support."
    if status_code >= 400:
        return InvalidRequest, "Correct what the message names; the same request will be refused again."
    if status_code >= 300:
        return InvalidRequest, "Redirects are not followed. Set the connection's host to the API's real base URL."
    return InvalidReply, "That is not what its API promises. Check that the connection's host is the API's base URL."


def _never_connected(error: requests.RequestException) -> bool:
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.InvalidURL, requests.exceptions.ProxyError)):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    if isinstance(reason, TlsError):  # a certificate is looked at before anything is sent
        return isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(reason, NewConnectionError)


def reason_of(error: Exception) -> str:
    """Say what went wrong without the object addresses and nested reprs of urllib3."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return str(reason).rpartition(": ")[2] or type(error).__name__


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    retry_after = error.retry_after if isinstance(error, NenoaError) else None
    # Jitter on top: everybody who was told the same second must not come back in it.
    return _backoff(state) if retry_after is None else retry_after + _backoff(state) / 10


def _stop_before(bound: float) -> Callable[[RetryCallState], bool]:
    """Stop when the next wait would end after the bound: a wait that is sure to be in vain is not begun."""

    def stop(state: RetryCallState) -> bool:
        passed = max(state.seconds_since_start or 0.0, state.idle_for)
        return bound <= 0 or passed + state.upcoming_sleep > bound

    return stop


def _ca_bundle() -> str | bool:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
