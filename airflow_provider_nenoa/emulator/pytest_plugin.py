"""A pytest plugin for tests of your own DAGs: both vendors on localhost, emptied before each test.

Opt in, in the top ``conftest.py``::

    pytest_plugins = ["airflow_provider_nenoa.emulator.pytest_plugin"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_nenoa.emulator.server import Emulator


@pytest.fixture(scope="session")
def nenoa_emulator_server() -> Iterator[Emulator]:
    """One server for the whole test session."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def nenoa_emulator(nenoa_emulator_server: Emulator) -> Emulator:
    """The emulator, without a memory of earlier tests: no runs, no counts, no faults, default settings."""
    nenoa_emulator_server.control.reset()
    return nenoa_emulator_server
