"""
Every use of Airflow that goes beyond its public interface, each with the reason why there is no other way.

All but the metrics clients is for the API server, or the stand-alone receiver, never for a worker or triggerer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
