"""What the hooks of both vendors share: reading the Airflow connection, and making the HTTP client from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.compat import BaseHook, mask_secret
from airflow_provider_nenoa.exceptions import ConnectionUnreadable, InvalidArgument, InvalidConnection
from airflow_provider_nenoa.get_provider_info import connection_type
from airflow_provider_nenoa.http import RETRY_FOR, HttpApi, check_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests
    from airflow.sdk import Connection
    from requests.auth import AuthBase


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

    def number(self, name: str) -> float | None:
        """
        Read a positive number from the extra fields; the form and the CLI store it as text.

        :return: The number; None if the field is empty.
        :raises InvalidConnection: It is not a positive number.
        """
        value = self.extra.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 < number < float("inf"):
            raise InvalidConnection(
                f"Connection '{self.conn_id}': the extra field '{name}' is {value!r}; it must be a positive number."
            )
        return number


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
            f"Connection '{conn_id}' could not be read: {error}. If there is none, create one of type '{conn_type}' "
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
            f"'{conn_type}'. Change its type, or name another connection."
        )
    # What comes from a file or the clipboard often brings a line's end along.
    api_key = (connection.password or "").strip()
    if not api_key:
        raise InvalidConnection(
            f"Connection '{conn_id}' has no API key. Put the {vendor} API key into its password field."
        )
    mask_secret(api_key)
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidConnection(
            f"Connection '{conn_id}': its password cannot be an API key, because it has characters that no HTTP header "
            "can carry. Copy the key again."
        )
    host = (connection.host or "").strip() or default_host
    if "://" not in host:
        host = f"https://{host}"
    if connection.port and host.count(":") == 1:
        host = f"{host}:{connection.port}"
    if connection.host and connection.schema:  # what a connection in the form of a URI has as its path
        host = f"{host.rstrip('/')}/{connection.schema}"
    try:
        # Not extra_dejson: it takes what is no JSON for an empty object.
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InvalidConnection(f"Connection '{conn_id}': the extra field is not a JSON object.")
    secret = str(extra.get("webhook_secret") or "") or None
    if secret:
        mask_secret(secret)
    try:
        base_url = check_base_url(host)
    except InvalidConnection as error:
        raise InvalidConnection(f"Connection '{conn_id}': {error}") from None
    settings = ConnectionSettings(conn_id, base_url, api_key, secret, extra)
    settings.timeout  # noqa: B018  (a bad one is an error now, not with the first request)
    return settings


class VendorHook(BaseHook):
    """
    A hook for one vendor's API. Subclasses say which.

    :param conn_id: The Airflow connection.
    :param retry_for: Seconds during which one call is tried again, waiting included. 0: one try. Default 300.
    :param on_response: Called with every response of the vendor, for its rate-limit headers. Default: count the 429s.
    """

    vendor: ClassVar[str]
    default_host: ClassVar[str]
    conn_type: ClassVar[str]
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

    @classmethod
    def rate_limits(cls, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        """
        Return how many requests a connection may make per minute and per day; None: any number.

        :raises InvalidConnection: The connection's limits make no sense.
        """
        return None, None

    @cached_property
    def api(self) -> HttpApi:
        """The HTTP client for this connection."""
        settings = self.settings
        return HttpApi(
            self.vendor,
            settings.base_url,
            self._auth(settings.api_key),
            secrets=(settings.api_key, settings.webhook_secret or ""),
            timeout=settings.timeout,
            retry_for=self.retry_for,
            on_response=lambda response: self.on_response(response),  # who waits has one of its own, later
        )

    def get_conn(self) -> HttpApi:
        """Return the HTTP client for this connection: Airflow's name for `api`."""
        return self.api

    def _auth(self, api_key: str) -> AuthBase:
        raise NotImplementedError

    def _count_refusal(self, response: requests.Response) -> None:
        if response.status_code == 429:
            metrics.count_in_task("rate_limited", self.conn_id)


def required(name: str, value: object) -> str:
    """
    Return a text argument without the space around it.

    :raises InvalidArgument: It is missing, empty, or no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"'{name}' must be a non-empty string, not {value!r}. Nothing was sent.")
    return value.strip()


def path_segment(name: str, value: object) -> str:
    """
    Return a text argument as one segment of a URL's path.

    :raises InvalidArgument: It is missing, empty, no text, or would lead to another path.
    """
    text = required(name, value)
    if text in (".", ".."):
        raise InvalidArgument(f"'{name}' cannot be {text!r}. Nothing was sent.")
    return quote(text, safe="")


def json_object(name: str, value: object) -> dict[str, Any]:
    """
    Check that an argument is an object that JSON can carry, before anything is sent.

    :raises InvalidArgument: It is not.
    """
    try:
        if not isinstance(value, dict):
            raise TypeError(f"it is a {type(value).__name__}")
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"'{name}' must be a dict that can be sent as JSON: {error}. Nothing was sent.") from None
    return value


def form_widgets(conn_type: str) -> dict[str, Any]:
    """
    Make the connection form's fields from the provider metadata, for Airflow before 3.2.

    Newer versions read ``conn-fields`` from the metadata themselves.
    """
    from wtforms import IntegerField, PasswordField, StringField

    def widget(label: str, schema: dict[str, Any], description: str) -> Any:
        kind = StringField
        if schema.get("format") == "password":
            kind = PasswordField
        elif "integer" in schema["type"]:
            kind = IntegerField
        return kind(label, description=description)

    fields = connection_type(conn_type)["conn-fields"]
    return {name: widget(field["label"], field["schema"], field["description"]) for name, field in fields.items()}


def form_behaviour(conn_type: str) -> dict[str, Any]:
    """Translate the provider metadata's form behaviour for Airflow before 3.2."""
    behaviour = connection_type(conn_type)["ui-field-behaviour"]
    return {name.replace("-", "_"): value for name, value in behaviour.items()}
