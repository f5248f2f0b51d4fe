from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that Airflow can have."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    databases: Callable[[], str] = request.getfixturevalue("postgres_databases")
    return databases()
