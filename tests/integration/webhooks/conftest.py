from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mariadb import SERVER as MARIADB


@pytest.fixture(params=["sqlite", "postgres", *(["mariadb"] if MARIADB else [])])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that Airflow can have."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    databases: Callable[[], str] = request.getfixturevalue(f"{request.param}_databases")
    return databases()
