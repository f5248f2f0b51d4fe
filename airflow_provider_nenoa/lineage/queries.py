"""
What a query read: its tables and their columns, by the SQL parser that OpenLineage brings.

This module imports OpenLineage's classes; only what OpenLineage calls may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.openlineage.extractors.base import OperatorLineage
from airflow.providers.openlineage.sqlparser import SQLParser
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    external_query_run,
    extraction_error_run,
    schema_dataset,
    sql_job,
)

from airflow_provider_nenoa.lineage.names import namespace_of, table_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openlineage.client.facet_v2 import DatasetFacet, JobFacet, RunFacet

    from airflow_provider_nenoa.vendors.openanalyst_schema import Column

SCHEME = "openanalyst"


class ReadQueries:
    """
    What the parser found in one query or several.

    :param sql: The SQL, before values are bound into it: lineage is no place for them.
    :param dataset_id: The dataset that is queried.
    :param base_url: Where the vendor's API is.
    """

    def __init__(self, sql: str | list[str], dataset_id: str, base_url: str) -> None:
        self.sql = sql
        self.dataset_id = dataset_id
        self.namespace = namespace_of(SCHEME, base_url)
        self._queries = SQLParser.split_sql_string(sql)
        self._found = SQLParser(dialect="generic").parse(self._queries)

    def inputs(self, schema: Mapping[str, Sequence[Column]] | None = None) -> list[Dataset]:
        """
        Return the tables that are read; the dataset as a whole, where the parser cannot read the SQL.

        :param schema: The columns of tables, by the tables' names, where they are known.
        """
        found: dict[str, Dataset] = {}
        for table in self._found.in_tables if self._found else ():
            name = table_name(self.dataset_id, table.database, table.schema, table.name)
            columns = _columns_of(table.name, schema or {})
            facets: dict[str, DatasetFacet] = {}
            if columns:
                fields = [schema_dataset.SchemaDatasetFacetFields(name=each.name, type=each.type) for each in columns]
                facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
            found[name] = Dataset(namespace=self.namespace, name=name, facets=facets)
        if not found and (self._found is None or self._found.errors):
            found[self.dataset_id] = Dataset(namespace=self.namespace, name=self.dataset_id)
        return list(found.values())

    def column_lineage(self) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
        """Return which columns of the tables each column of the result comes from; None if the parser found none."""
        tables = {table.qualified_name: table for table in self._found.in_tables} if self._found else {}
        fields = {}
        for column in self._found.column_lineage if self._found else ():
            # A column of a subquery has that as its origin, and says no more than the subquery's own columns do.
            sources = [
                column_lineage_dataset.InputField(
                    namespace=self.namespace,
                    name=table_name(self.dataset_id, table.database, table.schema, table.name),
                    field=source.name,
                )
                for source in column.lineage
                if source.origin and (table := tables.get(source.origin.qualified_name))
            ]
            if sources:
                fields[column.descendant.name] = column_lineage_dataset.Fields(inputFields=sources)
        return column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields) if fields else None

    def job_facets(self) -> dict[str, JobFacet]:
        """Return the SQL."""
        return {"sql": sql_job.SQLJobFacet(query=SQLParser.normalize_sql(self.sql))}

    def run_facets(self, query_id: str | None = None) -> dict[str, RunFacet]:
        """
        Return the vendor's id of the query, and what the parser could not read.

        :param query_id: That id, if the vendor gave one.
        """
        facets: dict[str, RunFacet] = {}
        if query_id:
            facets["externalQuery"] = external_query_run.ExternalQueryRunFacet(
                externalQueryId=query_id, source=self.namespace
            )
        if self._found and self._found.errors:
            facets["extractionError"] = extraction_error_run.ExtractionErrorRunFacet(
                totalTasks=len(self._queries),
                failedTasks=len(self._found.errors),
                errors=[
                    extraction_error_run.Error(
                        errorMessage=error.message, task=error.origin_statement, taskNumber=error.index
                    )
                    for error in self._found.errors
                ],
            )
        return facets

    def lineage(
        self, schema: Mapping[str, Sequence[Column]] | None = None, query_id: str | None = None
    ) -> OperatorLineage:
        """Return all of it; the parameters are those of `inputs` and `run_facets`."""
        return OperatorLineage(
            inputs=self.inputs(schema), job_facets=self.job_facets(), run_facets=self.run_facets(query_id)
        )


def _columns_of(table: str, schema: Mapping[str, Sequence[Column]]) -> Sequence[Column]:
    if table in schema:
        return schema[table]
    alike = [name for name in schema if name.lower() == table.lower()]
    return schema[alike[0]] if len(alike) == 1 else ()
