"""
Every use of Airflow that goes beyond its public interface, each with the reason why there is no other way.

All but the metrics clients, `build_in_process_api` and `mapped_over` is for the API server or the stand-alone receiver.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow.models.connection import Connection
    from airflow.models.crypto import FernetProtocol
    from sqlalchemy.engine import Engine


def metadata_engine() -> Engine:
    """
    Return the API server's own SQLAlchemy engine.

    Received events go to Airflow's database by default. A second engine would double the connections that the API
    server holds, and would not get what ``airflow_local_settings`` does to the first.
    """
    from airflow import settings

    if settings.engine is None:
        raise RuntimeError("Airflow has not set up its database engine in this process.")
    return settings.engine


def runs_db_manager(path: str) -> bool:
    """
    Return whether ``airflow db migrate`` runs a provider's database manager.

    From Airflow 3.2 it finds those that the metadata of providers names; before, the configuration must name them.

    :param path: The path of the manager's class.
    """
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    named = str(conf.get("database", "external_db_managers", fallback=None) or "").split(",")
    return hasattr(ProvidersManager, "db_managers") or path in [each.strip() for each in named]


def fernet() -> FernetProtocol:
    """
    Return the object that encrypts and decrypts with ``[core] fernet_key``; without a key, it does nothing.

    Airflow has no public way to encrypt with its key, and a key of our own would be one more to look after.
    """
    from airflow.models.crypto import get_fernet

    return get_fernet()


def server_connection(conn_id: str) -> Connection:
    """
    Read a connection from where a server process reads it: secrets backends, environment, metadata database.

    The public ``airflow.sdk.Connection.get`` looks into the database only in processes that Airflow 3.1+ has marked
    as servers, and never does so in Airflow 3.0.

    :raises Exception: The connection does not exist, or no backend could be asked; Airflow does not tell which.
    """
    from airflow.models.connection import Connection

    return Connection.get_connection_from_secrets(conn_id)


def mapped_over(argument: object) -> list[Any]:
    """
    Return the values over which a task group is mapped by an argument, as far as they stand in the DAG file.

    What a group's function is given for an argument has no public name for them, and Airflow serialises them.

    :param argument: What the function was given; anything else is mapped over nothing.
    """
    over, key = getattr(getattr(argument, "_input", None), "value", None), getattr(argument, "_key", None)
    sets = over if isinstance(over, (list, tuple)) else [over]
    return [each[key] for each in sets if isinstance(each, Mapping) and key in each]


def build_in_process_api() -> None:
    """
    Load and build the API that a triggerer's main process asks for connections, so that it is quick to build again.

    Nothing public makes Airflow do it before the first connection is read, and then in the main loop.
    """
    with suppress(Exception):  # it is a courtesy: whatever goes wrong here, Airflow tells of in its own time
        from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI

        InProcessExecutionAPI().app  # noqa: B018


def server_stats() -> Any:
    """
    Return the metrics client of the API server and of the triggerer: ``incr``, ``gauge``, ``timing``.

    ``airflow.sdk.observability.stats``, the public one, is a client of its own that only task processes configure:
    elsewhere, its counters go nowhere.
    """
    try:
        from airflow.observability.stats import Stats
    except ImportError:  # Airflow 3.0 and 3.1
        from airflow.stats import Stats  # type: ignore[assignment]
    return Stats


def initialize_server_stats(*, in_api_server: bool) -> None:
    """
    Configure the client of `server_stats` where Airflow does not: in a process of ours, and in the API server of 3.2.

    :param in_api_server: Whether this is Airflow's API server.
    """
    try:
        from airflow.observability.metrics.stats_utils import get_stats_factory
        from airflow.observability.stats import Stats
    except ImportError:  # Airflow 3.0 and 3.1: it configures itself
        return
    if hasattr(Stats, "factory"):  # Airflow 3.2
        Stats.initialize(factory=get_stats_factory(Stats))  # type: ignore[call-arg]
    elif not in_api_server:
        Stats.initialize(factory=get_stats_factory(), export_legacy_names=False)


def task_stats() -> Any:
    """
    Return the metrics client of a task process: ``incr``, ``gauge``, ``timing``.

    It is public, but stands elsewhere in Airflow 3.0 and 3.1.
    """
    try:
        from airflow.sdk.observability.stats import Stats
    except ImportError:
        from airflow.stats import Stats
    return Stats


def logged_in_user() -> Callable[..., Any]:
    """
    Return Airflow's own FastAPI dependency that gives the user who is logged in, or refuses with 401 or 403.

    Airflow offers plugins no public one, and a second login, or none, would be worse.
    """
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


def may_use_connection(user: Any, method: Literal["GET", "POST"], conn_id: str | None) -> bool:
    """
    Ask Airflow's auth manager whether a user may see (``GET``) or test (``POST``) a connection, as its own pages do.

    :param conn_id: The connection; None: connections in general.
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
    from airflow.models.connection import Connection

    of_team: dict[str, Any] = {}
    if conn_id is not None and hasattr(ConnectionDetails, "team_name"):  # Airflow 3.1+
        of_team = {"team_name": Connection.get_team_name(conn_id)}
    details = ConnectionDetails(conn_id=conn_id, **of_team)
    return get_auth_manager().is_authorized_connection(method=method, details=details, user=user)


def stored_connections(conn_types: Iterable[str]) -> list[str]:
    """
    Return the ids of the connections in Airflow's database that have one of some types.

    Airflow's public API lists them over HTTP only, for whoever has a token.
    """
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        return list(session.scalars(select(Connection.conn_id).where(Connection.conn_type.in_(list(conn_types)))))
