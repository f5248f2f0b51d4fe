"""What we count and measure, through Airflow's own metrics client. `docs/metrics.md` lists it."""

from __future__ import annotations

import re
from datetime import timedelta

from airflow_provider_nenoa import airflow_internals


def count_in_task(name: str, conn_id: str, **tags: str) -> None:
    """Count something that happens in a task's process."""
    airflow_internals.task_stats().incr(f"nenoa.{name}", tags={"conn_id": conn_id, **tags})


def count(name: str, **tags: str) -> None:
    """Count something that happens in the API server or in the triggerer."""
    airflow_internals.server_stats().incr(f"nenoa.{name}", tags=tags)


def time(name: str, seconds: float, conn_id: str) -> None:
    """Report how long something took, in the API server or in the triggerer."""
    airflow_internals.server_stats().timing(f"nenoa.{name}", timedelta(seconds=seconds), tags={"conn_id": conn_id})


def gauge(name: str, value: float, conn_id: str) -> None:
    """Report how something stands with a connection, in the API server or in the triggerer."""
    stats = airflow_internals.server_stats()
    stats.gauge(f"nenoa.{name}", value, tags={"conn_id": conn_id})
    # Plain StatsD has no tags: there, the connections would overwrite each other.
    stats.gauge(f"nenoa.{name}.{re.sub('[^a-zA-Z0-9_-]', '_', conn_id)}", value)
