"""A link from the task to the run in NenAI's own user interface."""

from __future__ import annotations

from airflow_provider_nenoa.links import RunLink


class NenAIRunLink(RunLink):
    """The run in the browser."""

    name = "NenAI run"

    def url(self, run_id: str | None) -> str:
        """Return the run's address; empty for None."""
        from airflow_provider_nenoa.vendors.nenai import run_url

        return run_url(run_id) if run_id else ""
