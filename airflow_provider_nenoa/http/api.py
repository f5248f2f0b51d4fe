"""One vendor's JSON API: what is sent again, what is not, and what a failure means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidReply, NenoaError, ServerError
from airflow_provider_nenoa.http import failures, replies
from airflow_provider_nenoa.http.addresses import check_base_url
from airflow_provider_nenoa.http.errors import Errors
from airflow_provider_nenoa.http.large import ReadLarge, object_of, read_body
from airflow_provider_nenoa.http.reasons import reason_of
from airflow_provider_nenoa.http.repeating import RETRY_FOR, first_line, repeat
from airflow_provider_nenoa.http.session import CONNECT_TIMEOUT, Session
from airflow_provider_nenoa.http.turns import Turn, in_turn
from airflow_provider_nenoa.http.wire import Passage, WireAdapter

T = TypeVar("T")


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
    :param conn_id: The Airflow connection, for messages.
    :param field: Which of its fields has the base URL, for messages.
    :param advice: What to do about an error, by the vendor's code for it, where that says more than its status.
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
        conn_id: str | None = None,
        field: str = "host",
        advice: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        timeout: float = 60.0,
        retry_for: float = RETRY_FOR,
        on_response: Callable[[requests.Response], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.vendor = vendor
        self.base_url = check_base_url(base_url)
        self.auth = auth
        self.connection = f"connection '{conn_id}'" if conn_id else "the connection"
        self.timeout = timeout
        self.retry_for = retry_for
        self.on_response = on_response
        self.turn: Turn | None = None
        """How starts wait where the vendor answers 429; None: as all other calls, for ``retry_for``."""
        self._address = f"the {field} of {self.connection}"
        self._errors = Errors(vendor, self.base_url, self.connection, self._address, advice or {}, secrets)
        self._sleep = sleep
        self._session = self._new_session()

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        retry: bool = True,
        large: ReadLarge | None = None,
    ) -> dict[str, Any]:
        """
        GET a JSON object, trying again on lost connections, 429 and 5xx.

        :param path: The path below the base URL, for example ``/datasets``.
        :param params: Query parameters; those that are None are left out.
        :param retry: Whether to try again. Default: yes, for ``retry_for``.
        :param large: Reads an answer that is a large one. Default: all are held whole.
        :return: The vendor's answer.
        :raises NenoaError: The subclass that fits what the vendor answered, or `ConnectionFailed`, `InvalidReply`.
        """

        def once() -> dict[str, Any]:
            return self._object(self._ask("GET", path, params=params, large=large))

        return self._retry(once) if retry else once()

    def fetch(self, path: str, params: Mapping[str, Any] | None, read: Callable[[requests.Response], T]) -> T:
        """
        GET what is no JSON: hand over the answer before its body is read, trying again as `get` does.

        :param path: The path below the base URL.
        :param params: Query parameters.
        :param read: Reads the answer's body; called anew for each try.
        :return: What ``read`` returned.
        :raises NenoaError: The subclass that fits what the vendor answered, or `ConnectionFailed`; `InvalidReply` where
            it answered 2xx, but not 200: the body is not what was asked for.
        """

        def once() -> T:
            with self._ask("GET", path, params=params, headers={"Accept": "*/*"}, stream=True) as response:
                if response.status_code != 200:
                    raise self._errors.not_there(response)
                try:
                    return read(response)
                except requests.RequestException as error:
                    why = failures.after_sending(error, self.timeout)
                    raise self._errors.no_answer("GET", path, why) from None

        return self._retry(once)

    def start(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        auth: AuthBase | None = None,
        before_send: Callable[[], None] | None = None,
        large: ReadLarge | None = None,
    ) -> dict[str, Any]:
        """
        POST a request that starts something, at most once as far as the vendor's acting on it goes.

        It goes over a connection of its own: on one from the pool that the vendor has just closed, nobody could
        tell whether the request had been read.

        :param path: The path below the base URL.
        :param body: The JSON object to send.
        :param auth: Signs this request after the API key was put into it.
        :param before_send: Called immediately before the first byte of the request goes out, when the connection
            stands, TLS included; also before each repetition. What it raises is raised, and nothing is sent.
        :param large: Reads an answer that is a large one. Default: all are held whole.
        :return: The vendor's answer.
        :raises StartOutcomeUnknown: The request went out and no clear answer came.
        :raises NenoaError: The subclass that fits a refusal, or that it could not be sent. Nothing was started.
        """

        def once() -> dict[str, Any]:
            response = self._act("POST", path, json=dict(body), extra_auth=auth, before_send=before_send, large=large)
            try:
                return self._object(response)
            except InvalidReply as error:
                raise self._errors.outcome_unknown("POST", path, first_line(error)) from None

        if self.turn is None:
            return self._retry(once)
        return in_turn(lambda: self._retry(once, rate_limits=False), self.turn, self._sleep)

    def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None, raw: bool = False
    ) -> Any:
        """
        Send any request: with the same credentials, errors and retries as all others.

        GET and HEAD are repeated freely; all others as `start` does it.

        :param method: The HTTP method.
        :param path: The path below the base URL, beginning with a slash. It may have a query.
        :param params: Query parameters; those that are None are left out.
        :param json: What to send as the body; None: no body.
        :param raw: Return the body's bytes as they are, for what is no JSON.
        :return: The JSON value of the answer's body; None if it has no body.
        :raises InvalidArgument: The method, the path or ``json`` cannot be sent.
        :raises InvalidReply: The body is no JSON.
        :raises StartOutcomeUnknown: Neither GET nor HEAD, and no clear answer came after it had gone out.
        :raises NenoaError: The subclass that fits a refusal.
        """
        verb = method.strip().upper() if isinstance(method, str) else ""
        if not (verb.isascii() and verb.isalpha()):
            raise InvalidArgument(f"'method' is {method!r}, which is no HTTP method. Nothing was sent.")
        if not isinstance(path, str) or not path.startswith("/"):
            raise InvalidArgument(
                f"'path' is {path!r}; it must begin with a slash, and goes below {self.base_url}. Nothing was sent."
            )
        send = self._ask if verb in ("GET", "HEAD") else self._act

        def once() -> Any:
            response = send(verb, path, params=params, json=json)
            if raw:
                return response.content
            return self._value(response) if response.content else None

        return self._retry(once)

    def ask(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str], read: Callable[[requests.Response], T]
    ) -> T:
        """
        POST a question, which starts nothing, and try again as `get` does.

        :param path: The path below the base URL.
        :param body: The JSON object to send.
        :param headers: Headers beside the usual ones.
        :param read: Reads the answer, a 2xx, from ``response.raw`` while it comes in.
        :return: What ``read`` returned.
        :raises NenoaError: As `get` does.
        """

        def once() -> T:
            try:
                with self._ask("POST", path, json=dict(body), headers=headers, stream=True) as response:
                    return read(response)
            except (requests.RequestException, HTTPError) as error:  # in the midst of the answer
                raise self._errors.no_answer("POST", path or "/", reason_of(error)) from None

        return self._retry(once)

    def probe(self, method: str, path: str, json: Any = None) -> requests.Response:
        """
        Send one request and return whatever came back, for a connection test.

        :raises ConnectionFailed: No answer came.
        """
        try:
            return self._send(self._session, method, path, json=json)
        except _Unanswered as error:
            raise self._errors.no_answer(method, path, str(error)) from None

    def error_of(self, response: requests.Response) -> NenoaError:
        """Translate an answer that is not 2xx into the error that says what it means."""
        return self._errors.of_answer(response)

    def scrub(self, text: str) -> str:
        """Take the secrets out of a text for a message."""
        return self._errors.scrub(text)

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _new_session(self) -> Session:
        session = Session()
        session.headers["Accept"] = "application/json"
        for scheme in ("https://", "http://"):
            session.mount(scheme, WireAdapter())
        return session

    def _ask(self, method: str, path: str, **what: Any) -> requests.Response:
        """Send once what may be sent again; return a 2xx answer."""
        try:
            response = self._send(self._session, method, path, **what)
        except _Unanswered as error:
            raise self._errors.no_answer(method, path, str(error)) from None
        return self._checked(response)

    def _act(self, method: str, path: str, **what: Any) -> requests.Response:
        """Send once what must not be acted on twice; return a 2xx answer."""
        with self._new_session() as session:
            try:
                response = self._send(session, method, path, **what)
            except (_Unanswered, InvalidReply) as error:
                raise self._errors.outcome_unknown(method, path, first_line(error)) from None
        try:
            return self._checked(response, what.get("json"))
        except InvalidReply as error:
            raise self._errors.outcome_unknown(method, path, first_line(error)) from None
        except ServerError as error:
            if response.status_code == 503 and error.retry_after is not None:
                raise
            raise self._errors.outcome_unknown(method, path, first_line(error), error) from None

    def _send(
        self,
        session: Session,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        extra_auth: AuthBase | None = None,
        before_send: Callable[[], None] | None = None,
        large: ReadLarge | None = None,
    ) -> requests.Response:
        """
        Send one request.

        :raises _Unanswered: It went out, and no answer came.
        :raises NenoaError: It could not be sent.
        """
        url, what = self.base_url + path, self._errors.named(method, path)
        try:
            request = session.prepare_request(
                requests.Request(method, url, dict(headers or {}), params=dict(params or {}), json=json, auth=self.auth)
            )
        except (requests.RequestException, TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(self.scrub(f"{what} cannot be sent: {error}. Nothing was sent.")) from None
        if extra_auth is not None:
            request = extra_auth(request)
        settings = session.merge_environment_settings(url, None, stream or large is not None, None, None)
        passage = Passage(before_send)
        try:
            with passage:
                response = session.send(
                    request,
                    timeout=(CONNECT_TIMEOUT, self.timeout),
                    # The API key travels in a header that requests would carry along to wherever it is sent.
                    allow_redirects=False,
                    **settings,
                )
                if large is not None:
                    read_body(response, large)
        except NenoaError:
            raise
        except Exception as error:
            if passage.refusal is None:
                if isinstance(error, requests.exceptions.ContentDecodingError):
                    raise self._errors.undecodable(method, path) from None
                if passage.sent:
                    raise _Unanswered(failures.after_sending(error, self.timeout)) from None
                raise failures.before_sending(
                    error, passage, url, what, self.vendor, self._address, self.scrub
                ) from None
        if passage.refusal is not None:
            raise passage.refusal
        if self.on_response is not None:
            self.on_response(response)
        return response

    def _checked(self, response: requests.Response, body: Any = None) -> requests.Response:
        if not 200 <= response.status_code < 300:
            raise self._errors.of_answer(response, body)
        return response

    def _object(self, response: requests.Response) -> dict[str, Any]:
        if (large := object_of(response)) is not None:
            return large
        body = self._value(response)
        if not isinstance(body, dict):
            raise self._errors.no_object(response, body)
        return body

    def _value(self, response: requests.Response) -> Any:
        try:
            return replies.json_of(response)
        except ValueError:
            raise self._errors.no_json(response) from None

    def _retry(self, call: Callable[[], T], *, rate_limits: bool = True) -> T:
        return repeat(call, retry_for=self.retry_for, sleep=self._sleep, rate_limits=rate_limits)


class _Unanswered(Exception):
    """A request went out, and no answer came. The message says why."""
