"""What the hooks of both vendors share: reading the Airflow connection, and making the HTTP client from it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.compat import BaseHook, mask_secret
from airflow_provider_nenoa.exceptions import ConnectionUnreadable, InvalidConnection
from airflow_provider_nenoa.get_provider_info import connection_type
from airflow_provider_nenoa.http import RETRY_FOR, HttpApi, base_url_of, is_loopback
from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.vendors.settings import text_setting
from airflow_provider_nenoa.webhooks.secret import webhook_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests
    from airflow.sdk import Connection
    from requests.auth import AuthBase

    from airflow_provider_nenoa.results.addresses import Guard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionSettings:
    """
    What an Airflow connection says, checked.

    :param conn_id: The connection's id.
    :param base_url: Where the vendor's API is.
    :param api_key: The connection's password.
    :param webhook_secret: The secret with which the vendor signs webhooks; None: it sends none.
    :param extra: All extra fields, for what only one vendor has.
    """

    conn_id: str
    base_url: str
    api_key: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)
    extra: Mapping[str, Any] = field(repr=False)

    @property
    def timeout(self) -> float:
        """Seconds to wait for an answer of the vendor. Default 60."""
        return self.number("timeout") or 60.0

    @property
    def private_file_hosts(self) -> list[str]:
        """Hosts of result files, or patterns of them, that may have a private address. Default: none."""
        hosts = map(str.strip, self.text("private_file_hosts").split(","))
        return [host for host in hosts if host]

    def text(self, name: str) -> str:
        """
        Read a text from the extra fields, without space and line ends around it; a number is a text, too.

        :return: The text; empty if the field is.
        :raises InvalidConnection: It is neither a text nor a number.
        """
        try:
            return text_setting(self.extra, name)
        except TypeError:
            raise self._unfit(name, "a text") from None

    def number(self, name: str) -> float | None:
        """
        Read a positive number from the extra fields; the form and the CLI store it as text.

        :return: The number; None if the field is empty.
        :raises InvalidConnection: It is not a positive number.
        """
        try:
            text = text_setting(self.extra, name)
            number = float(text) if text else None
        except (TypeError, ValueError):
            number = -1.0
        if number is not None and not 0 < number < float("inf"):
            raise self._unfit(name, "a positive number")
        return number

    def _unfit(self, name: str, what: str) -> InvalidConnection:
        value = self.extra.get(name)
        return InvalidConnection(
            f"Connection '{self.conn_id}': the extra field '{name}' is {value!r}; it must be {what}."
        )


def airflow_connection(
    conn_id: str, conn_type: str, get_connection: Callable[[str], Connection] = BaseHook.get_connection
) -> Connection:
    """
    Get a connection from Airflow.

    :param conn_id: The connection's id.
    :param conn_type: The type that it should have, for the message.
    :param get_connection: A hook's own way to get it.
    :raises ConnectionUnreadable: Airflow did not hand it out: it does not exist, or a secrets backend is down.
    """
    try:
        return get_connection(conn_id)
    except Exception as error:
        # Each Airflow version and secrets backend has its own error for this.
        raise ConnectionUnreadable(
            f"Connection '{conn_id}' could not be read: {error}.\nIf there is none, create one of type '{conn_type}' "
            "under Admin > Connections, or name another one."
        ) from error


def read_connection(connection: Connection, conn_type: str, vendor: str, default_host: str) -> ConnectionSettings:
    """
    Check an Airflow connection before anything is sent with it.

    :param connection: The connection.
    :param conn_type: The type that it must have.
    :param vendor: The vendor's name, for messages.
    :param default_host: The base URL where the connection names none.
    :raises InvalidConnection: It has another type, no usable key, an unusable host or unusable extra fields.
    """
    conn_id = connection.conn_id
    if connection.conn_type != conn_type:
        raise InvalidConnection(
            f"Connection '{conn_id}' is of type '{connection.conn_type}', but {vendor} needs one of type "
            f"'{conn_type}'.\nChange its type, or name another connection."
        )
    # What comes from a file or the clipboard often brings a line's end along.
    api_key = (connection.password or "").strip()
    if not api_key:
        raise InvalidConnection(
            f"Connection '{conn_id}' has no API key.\nPut the {vendor} API key into its password field."
        )
    mask_secret(api_key)
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidConnection(
            f"Connection '{conn_id}': its password cannot be an API key, because it has characters that no HTTP header "
            "can carry.\nCopy the key again."
        )
    try:
        # Not extra_dejson: it takes what is no JSON for an empty object.
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InvalidConnection(f"Connection '{conn_id}': the extra field is not a JSON object.")
    _warn_of_misspelled(conn_id, conn_type, extra)
    secrets = webhook_secrets(extra)
    for secret in secrets:
        mask_secret(secret)
    try:
        base_url = base_url_of(connection.host, connection.port, connection.schema, default_host)
    except InvalidConnection as error:
        raise InvalidConnection(f"Connection '{conn_id}': {error}") from None
    settings = ConnectionSettings(conn_id, base_url, api_key, secrets[0] if secrets else None, extra)
    settings.timeout, settings.private_file_hosts  # noqa: B018  (a bad one is an error now, not when a run is paid for)
    return settings


def _warn_of_misspelled(conn_id: str, conn_type: str, extra: Mapping[str, Any]) -> None:
    fields = connection_type(conn_type)["conn-fields"]
    for name in extra.keys() - fields.keys():
        if meant := get_close_matches(name.lower(), fields, 1, 0.8):
            log.warning(
                "Connection '%s' has an extra field '%s', which is not used: is '%s' meant?", conn_id, name, meant[0]
            )


class ConnectionForm:
    """The form of a connection type before Airflow 3.2, made from the provider metadata that newer versions read."""

    conn_type: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if (
            "conn_type" in cls.__dict__
        ):  # Airflow looks for these in the class itself, not in those that it inherits from
            for name in ("get_connection_form_widgets", "get_ui_field_behaviour"):
                setattr(cls, name, ConnectionForm.__dict__[name])

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields."""
        from wtforms import IntegerField, PasswordField, StringField

        def widget(label: str, schema: dict[str, Any], description: str) -> Any:
            kind = StringField
            if schema.get("format") == "password":
                kind = PasswordField
            elif "integer" in schema["type"]:
                kind = IntegerField
            return kind(label, description=description)

        fields = connection_type(cls.conn_type)["conn-fields"]
        return {name: widget(field["label"], field["schema"], field["description"]) for name, field in fields.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's behaviour."""
        behaviour = connection_type(cls.conn_type)["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}


class VendorHook(ConnectionForm, BaseHook):
    """
    A hook for one vendor's API. Subclasses say which.

    :param conn_id: The Airflow connection.
    :param retry_for: Seconds during which one call is tried again, waiting included. 0: one try. Default 300.
    :param on_response: Called with every response of the vendor, for its rate-limit headers. Default: count the 429s.
    """

    vendor: ClassVar[str]
    default_host: ClassVar[str]
    conn_type: ClassVar[str]
    conn_name_attr: ClassVar[str]
    advice: ClassVar[Mapping[str, str]] = {}
    """What to do about an error, by the vendor's code for it, where that says more than its status."""
    webhooks_need_https: ClassVar[bool] = False

    def __init__(
        self,
        conn_id: str,
        *,
        retry_for: float = RETRY_FOR,
        on_response: Callable[[requests.Response], None] | None = None,
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        setattr(self, self.conn_name_attr, conn_id)  # by this name Airflow's lineage looks for it
        self.retry_for = retry_for
        self.on_response = on_response or self._count_refusal

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection, read once and checked.

        :raises ConnectionUnreadable: Airflow did not hand it out: it does not exist, or a secrets backend is down.
        :raises InvalidConnection: It cannot be used.
        """
        connection = airflow_connection(self.conn_id, self.conn_type, self.get_connection)
        settings = read_connection(connection, self.conn_type, self.vendor, self.default_host)
        self.rate_limits(settings)
        return settings

    @property
    def who_answers(self) -> str:
        """Who is asked how a run stands, for messages."""
        return self.vendor

    @property
    def takes_callbacks(self) -> bool:
        """Whether a start can name the URL that the vendor shall call about its end."""
        return True

    @property
    def may_be_told(self) -> bool:
        """Whether whoever has started a run may have given our webhook, so that our receiver is told of its end."""
        return bool(self.settings.webhook_secret) and self.takes_callbacks

    @classmethod
    def rate_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """
        Return how many requests a connection may make per minute and per day; None: any number.

        :raises InvalidConnection: The connection's limits make no sense.
        """
        return None, None

    @classmethod
    def own_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """Return what the connection itself allows per minute and per day, whatever the vendor's headers say."""
        return None, None

    @cached_property
    def api(self) -> HttpApi:
        """The HTTP client for this connection."""
        settings = self.settings
        return HttpApi(
            self.vendor,
            settings.base_url,
            self._auth(settings.api_key),
            conn_id=settings.conn_id,
            advice=self.advice,
            secrets=(settings.api_key, *webhook_secrets(settings.extra)),
            timeout=settings.timeout,
            retry_for=self.retry_for,
            on_response=lambda response: self.on_response(response),  # who waits has one of its own, later
        )

    def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None, raw: bool = False
    ) -> Any:
        """
        Send any request to the vendor, for what no method of this hook is made for.

        It has the credentials, time-outs, errors and masking of all others. GET and HEAD are tried again on lost
        connections, 429 and 5xx; whatever else may start or change something is sent again only where the vendor surely
        did not act on it.

        :param method: The HTTP method, such as ``GET``.
        :param path: The path below the connection's base URL, beginning with a slash, such as ``/dashboards``. Put ids
            into it with `urllib.parse.quote`.
        :param params: Query parameters; those that are None are left out.
        :param json: What to send as the body, as JSON. None, the default: no body.
        :param raw: Return the body as bytes, for what is no JSON, such as a CSV file. Default False.
        :return: The JSON value of the answer's body, be it an object, a list or anything else; None if it has no body.
        :raises InvalidArgument: The method, the path or ``json`` cannot be sent.
        :raises InvalidReply: The body is no JSON.
        :raises StartOutcomeUnknown: Neither GET nor HEAD, and no clear answer came after the request had gone out.
        :raises NenoaError: The subclass that fits what the vendor answered, or `ConnectionFailed`.
        """
        return self.api.request(method, path, params=params, json=json, raw=raw)

    def file_guard(self) -> Guard:
        """Return what decides which hosts the files of this connection's runs may be fetched from."""
        from airflow_provider_nenoa.results.addresses import Guard

        settings = self.settings
        return Guard(
            loopback=is_loopback(urlsplit(settings.base_url).hostname), private_hosts=settings.private_file_hosts
        )

    def new_budget(self, clock: Callable[[], float] | None = None) -> Budget:
        """
        Return a budget for whoever waits over this hook: it sees the rate-limit headers of the hook's responses.

        :param clock: The present time in Unix seconds; replaced in tests.
        """
        limits, own = self.rate_limits(self.settings), self.own_limits(self.settings)
        budget, on_response = Budget(*limits, clock, at_most=own), self.on_response

        def observe(response: requests.Response) -> None:
            budget.observe(response.headers)
            on_response(response)

        self.on_response = observe
        return budget

    def get_conn(self) -> HttpApi:
        """Return the HTTP client for this connection: Airflow's name for `api`."""
        return self.api

    def _auth(self, api_key: str) -> AuthBase:
        raise NotImplementedError

    def _count_refusal(self, response: requests.Response) -> None:
        if response.status_code == 429:
            metrics.count_in_task("rate_limited", self.conn_id)
