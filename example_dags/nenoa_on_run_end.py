"""Start a DAG whenever a NenAI run has succeeded, whoever started it: event-driven scheduling by webhook."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_nenoa.triggers.events import RunEventTrigger

nenai_run = Asset("nenai_run", watchers=[AssetWatcher(name="nenai_webhooks", trigger=RunEventTrigger("nenai_default"))])


@dag(schedule=[nenai_run], tags=["nenoa", "example"], doc_md=__doc__)
def nenoa_on_run_end() -> None:
    @task
    def tell(triggering_asset_events: Any = None) -> None:
        for event in triggering_asset_events[nenai_run]:
            print(event.extra)

    tell()


nenoa_on_run_end()
