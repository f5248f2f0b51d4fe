"""Operators that fetch what an OpenAnalyst workspace has: datasets, reports, dashboards."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.operators.base import one_of
from airflow_provider_nenoa.operators.openanalyst_base import CONN_ID, id_of
from airflow_provider_nenoa.triggers import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class _ListOperator(BaseOperator):
    """
    List objects of a workspace.

    Returns a list of dicts, with every field the vendor sent; with ``output_path``, a dict: ``count`` and ``files``, a
    list of one dict with ``name``, ``path``, ``size`` (bytes) and ``sha256``.

    :param output_path: Where to store them: any URL that Airflow's ``ObjectStoragePath`` understands. A file that ends
        in ``.json`` is one JSON list, any other has one object per line. Default: they are returned. (templated)
    :param page_size: Objects per request. Default 100.
    :param limit: Stop after so many objects. Default: all.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    objects: ClassVar[str]
    template_fields: Sequence[str] = ("output_path", "openanalyst_conn_id")
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        page_size: int = 100,
        limit: int | None = None,
        output_path: str | None = None,
        openanalyst_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("page_size", page_size), ("limit", limit)):
            if value is not None:
                whole_number(name, value)
        self.page_size = page_size
        self.limit = limit
        self.output_path = output_path
        self.openanalyst_conn_id = openanalyst_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]] | dict[str, Any]:
        """Fetch the pages that are needed, and store or return the objects."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        list_objects = getattr(OpenAnalystHook(self.openanalyst_conn_id), f"list_{self.objects}")
        found = islice(list_objects(page_size=self.page_size), self.limit)
        if not self.output_path:
            from airflow_provider_nenoa.results.xcom import fit_for_airflow

            return fit_for_airflow(list(found), "The list")
        from airflow_provider_nenoa.results.rows import write_objects

        count, file = write_objects(found, self.output_path, self.objects)
        return {"count": count, "files": [file]}


class OpenAnalystListDatasetsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the datasets of a workspace", 1)
    objects = "datasets"


class OpenAnalystListReportsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the reports of a workspace", 1)
    objects = "reports"


class OpenAnalystListDashboardsOperator(_ListOperator):
    __doc__ = (_ListOperator.__doc__ or "").replace("objects of a workspace", "the dashboards of a workspace", 1)
    objects = "dashboards"


class _GetOperator(BaseOperator):
    """
    Fetch one object of a workspace.

    :param output_path: Where to store it as JSON: any URL that Airflow's ``ObjectStoragePath`` understands. Default: it
        is returned. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    object_name: ClassVar[str]
    ui_color = "#dff2e8"

    def __init__(self, *, output_path: str | None = None, openanalyst_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.openanalyst_conn_id = openanalyst_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch it, and store or return it."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        hook = OpenAnalystHook(self.openanalyst_conn_id)
        found: dict[str, Any] = getattr(hook, f"get_{self.object_name}")(id_of(self.object_name, self, hook))
        if not self.output_path:
            from airflow_provider_nenoa.results.xcom import fit_for_airflow

            return fit_for_airflow(found, f"The {self.object_name}")
        from airflow_provider_nenoa.results.rows import write_object

        return {"files": [write_object(found, self.output_path, self.object_name)]}


class OpenAnalystGetDatasetOperator(_GetOperator):
    """
    Fetch the metadata and schema of a dataset.

    Returns a dict with every field the vendor sent; with ``output_path``, a dict with ``files``: a list of one dict
    with ``name``, ``path``, ``size`` (bytes) and ``sha256``.

    :param dataset_id: The dataset's id. (templated)
    :param dataset_name: Its name instead, as OpenAnalyst lists it. (templated)
    :param output_path: Where to store it as JSON: any URL that Airflow's ``ObjectStoragePath`` understands. Default: it
        is returned. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    object_name = "dataset"
    template_fields: Sequence[str] = ("dataset_id", "dataset_name", "output_path", "openanalyst_conn_id")

    def __init__(self, *, dataset_id: str | None = None, dataset_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        one_of("dataset", dataset_id, dataset_name)
        self.dataset_id = dataset_id
        self.dataset_name = dataset_name


class OpenAnalystGetReportOperator(_GetOperator):
    """
    Fetch a report and its data.

    Returns a dict with every field the vendor sent; with ``output_path``, a dict with ``files``: a list of one dict
    with ``name``, ``path``, ``size`` (bytes) and ``sha256``.

    :param report_id: The report's id. (templated)
    :param report_name: Its name instead, as OpenAnalyst lists it. (templated)
    :param export_format: Fetch it as a file in this format, as the vendor writes it, instead of as JSON: ``csv``. Only
        where the connection's ``api_form`` is ``server``, and only with ``output_path``. (templated)
    :param output_path: Where to store it: any URL that Airflow's ``ObjectStoragePath`` understands. Default: it is
        returned. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    object_name = "report"
    template_fields: Sequence[str] = ("report_id", "report_name", "export_format", "output_path", "openanalyst_conn_id")

    def __init__(
        self,
        *,
        report_id: str | None = None,
        report_name: str | None = None,
        export_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("report", report_id, report_name)
        self.report_id = report_id
        self.report_name = report_name
        self.export_format = export_format

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch it, and store or return it."""
        if self.export_format is None:
            return super().execute(context)
        from airflow_provider_nenoa.exceptions import InvalidArgument
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        if not self.output_path:
            raise InvalidArgument("'export_format' is given, and 'output_path' is not: where shall the file be stored?")
        hook = OpenAnalystHook(self.openanalyst_conn_id)
        report_id = id_of("report", self, hook)
        return {"files": [hook.download_report(report_id, self.output_path, export_format=self.export_format)]}
