"""
What OpenLineage shall know of a task that starts a run at a vendor.

This module imports OpenLineage's classes; only what OpenLineage calls may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from airflow.providers.openlineage.extractors.base import OperatorLineage
from openlineage.client.event_v2 import Dataset

from airflow_provider_nenoa.lineage.facets import NenoaJobFacet, NenoaRunFacet
from airflow_provider_nenoa.lineage.files import files_told_of
from airflow_provider_nenoa.lineage.names import namespace_of
from airflow_provider_nenoa.lineage.queries import SCHEME, ReadQueries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.vendors.openanalyst_schema import Column


class _Operator(Protocol):
    kind_name: ClassVar[str]
    remote_run_id: str | None
    ended: Run | None

    @property
    def conn_id(self) -> str: ...
    @property
    def kind(self) -> Any: ...
    def run_page(self, run_id: str | None) -> str | None: ...


def lineage_of_run(operator: _Operator) -> OperatorLineage:
    """
    Return the vendor's ids and words, as facets of the job and of the run.

    Files that were stored are not in it: OpenLineage looks for them where hooks tell of them.

    :param operator: The operator, whether its run has been started or not, or has ended.
    """
    vendor, run_id, ended = operator.kind.vendor, operator.remote_run_id, operator.ended
    if ended is not None and ended.run_id:
        run_id = ended.run_id
    dataset_ids = getattr(operator, "dataset_ids", None) or [getattr(operator, "dataset_id", None)]
    job = NenoaJobFacet(
        vendor=vendor,
        kind=operator.kind_name,
        connectionId=operator.conn_id,
        workflowId=_text(getattr(operator, "workflow_id", None)),
        workflowName=_text(getattr(operator, "workflow_name", None)),
        agentId=_text(getattr(operator, "agent_id", None)),
        datasetIds=[each for each in map(_text, dataset_ids) if each is not None] or None,
    )
    run = NenoaRunFacet(
        vendor=vendor,
        kind=operator.kind_name,
        runId=run_id,
        status=ended.word if ended else None,
        error=ended.error if ended and not ended.status.is_success else None,
        url=operator.run_page(run_id),
    )
    return OperatorLineage(run_facets={"nenoa_run": run}, job_facets={"nenoa_job": job})


def lineage_of_query(
    operator: _Operator,
    query: str | None,
    dataset_id: str,
    base_url: str,
    schema: Mapping[str, Sequence[Column]],
) -> OperatorLineage:
    """
    Return also what a query reads, and the file that its rows were stored in.

    :param operator: The operator.
    :param query: The SQL, before values are bound into it; None if it was a question in natural language.
    :param dataset_id: The dataset that is queried.
    :param base_url: Where the vendor's API is.
    :param schema: The columns of the dataset's tables, where they are known.
    """
    lineage = lineage_of_run(operator)
    # With inputs of its own, OpenLineage does not look for what hooks tell of.
    lineage.outputs = files_told_of()
    if query is None:
        lineage.inputs = [Dataset(namespace=namespace_of(SCHEME, base_url), name=dataset_id)]
        return lineage
    read = ReadQueries(query, dataset_id, base_url)
    columns = read.column_lineage()
    for output in lineage.outputs if columns else ():
        output.facets = {**(output.facets or {}), "columnLineage": columns}
    run_id = operator.ended.run_id if operator.ended else operator.remote_run_id
    return lineage.merge(read.lineage(schema, run_id or None))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
