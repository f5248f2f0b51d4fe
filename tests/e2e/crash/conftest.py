"""Airflow on PostgreSQL, as in production, and cases that are played on it side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.crash import table
from tests.e2e.crash.situations import SECTIONS, SITUATIONS, Case
from tests.e2e.crash.stage import Outcome
from tests.e2e.crash.table import Key
from tests.support.local_airflow import LocalAirflow

AT_ONCE = 6
"""Cases that are played at the same time: they wait more than they work."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--document", action="store_true", help="write the table of what happens when anew")


@pytest.fixture(scope="package")
def airflow(postgres_databases: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    with LocalAirflow(
        tmp_path_factory.mktemp("airflow"),
        Path(__file__).parent / "dags",
        database_url=postgres_databases(),
        parallelism=2 * AT_ONCE,
        environment={
            # The API server may be away for a moment without being missed: as in production, but with shorter moments.
            "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "10",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "20",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            # As in production: a scheduler that stands still for longer takes itself for dead, and its tasks for lost.
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
        },
    ) as airflow:
        yield airflow


@pytest.fixture(scope="package")
def document(request: pytest.FixtureRequest) -> Iterator[Callable[[Case, Outcome], None]]:
    """A function that compares an outcome with the documented one; with ``--document``, it documents it."""
    if not request.config.getoption("--document", default=False):
        documented = table.read(table.PATH.read_text())

        def compare(case: Case, outcome: Outcome) -> None:
            is_documented = case.differs or documented.get(case.key) == outcome
            assert is_documented, f"{table.PATH.name} is out of date: run `make crash-test`"

        yield compare
        return
    outcomes: dict[Key, Outcome] = {}
    yield lambda case, outcome: outcomes.update({case.key: outcome})
    if (
        outcomes.keys() == {case.key for each in SITUATIONS for case in each.cases()}
        and not request.session.testsfailed
    ):
        table.PATH.write_text(table.write(outcomes, {title: words for title, (words, _) in SECTIONS.items()}))


@pytest.fixture(scope="package")
def played(request: pytest.FixtureRequest, airflow: LocalAirflow) -> Iterator[dict[Case, Future[Outcome]]]:
    """The outcomes of all cases that were selected; they are played from the moment when the first is asked for."""
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    pool = ThreadPoolExecutor(AT_ONCE)
    cases = [case for each in selected if isinstance(case := each.get("case"), Case)]
    yield {case: pool.submit(case.play, airflow) for case in cases}
    pool.shutdown(cancel_futures=True)
