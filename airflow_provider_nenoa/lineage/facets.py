"""
Facets of our own: the vendors' ids and words.

This module imports OpenLineage's classes; only what OpenLineage calls may import it.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import define
from openlineage.client.facet_v2 import JobFacet, RunFacet


@define
class NenoaRunFacet(RunFacet):
    """
    A run at a vendor, in the facet ``nenoa_run``.

    :param vendor: ``NenAI`` or ``OpenAnalyst``.
    :param kind: ``workflow``, ``agent`` or ``query``.
    :param runId: The vendor's id of the run; None before it was started.
    :param status: The vendor's word for how it ended; None before its end, or if that was not seen.
    :param error: The vendor's words about a failure.
    :param url: The run in the vendor's user interface, where that has an address.
    """

    vendor: str
    kind: str
    runId: str | None = None
    status: str | None = None
    error: str | None = None
    url: str | None = None

    _additional_skip_redact: ClassVar[list[str]] = ["vendor", "kind", "runId", "status"]


@define
class NenoaJobFacet(JobFacet):
    """
    What is run at a vendor, in the facet ``nenoa_job``.

    :param vendor: ``NenAI`` or ``OpenAnalyst``.
    :param kind: ``workflow``, ``agent`` or ``query``.
    :param connectionId: The Airflow connection.
    :param workflowId: The workflow.
    :param workflowName: Its name, where the task was given that.
    :param agentId: The agent.
    :param datasetIds: The datasets that are queried, or that the agent was given.
    """

    vendor: str
    kind: str
    connectionId: str
    workflowId: str | None = None
    workflowName: str | None = None
    agentId: str | None = None
    datasetIds: list[str] | None = None

    _additional_skip_redact: ClassVar[list[str]] = ["vendor", "kind", "connectionId"]
