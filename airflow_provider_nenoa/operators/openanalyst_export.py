"""The operator that exports an OpenAnalyst dataset into a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_nenoa.operators.base import POLL_INTERVAL, TIMEOUT, one_of
from airflow_provider_nenoa.operators.openanalyst_base import (
    CONN_ID,
    OpenAnalystRunOperator,
    id_of,
    id_to_check,
)
from airflow_provider_nenoa.triggers import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.runs import Run

MAX_FILE_SIZE = 10 * 1024**3


class OpenAnalystExportOperator(OpenAnalystRunOperator):
    """
    Export an OpenAnalyst dataset, wait until the file is ready, and store it.

    Only where the connection's ``api_form`` is ``server``. The link to the file is valid for 15 minutes; it is asked
    for when the file is fetched, and appears in no log, XCom or result. The file is checked against the size that the
    vendor names.

    Returns a dict: ``export_id``, ``dataset_id`` (with a ``dataset_name``: if the vendor repeats it, else None),
    ``status`` (the vendor's word) and ``files``, a list of one dict with ``name``, ``path``, ``size`` (bytes) and
    ``sha256``. A task that could not fetch the file goes on with the same export when it is tried again.

    :param dataset_id: The dataset's id. (templated)
    :param dataset_name: Its name instead, as OpenAnalyst lists it. (templated)
    :param output_path: Where to store the file: any URL that Airflow's ``ObjectStoragePath`` understands, of a file or,
        with a ``/`` at its end, of a directory for a file ``export.<format>``. Not needed with
        ``wait_for_completion=False``. (templated)
    :param export_format: ``csv`` or ``parquet``. Default ``csv``. (templated)
    :param date_range: Export the rows of these dates only: a dict with ``start`` and ``end``, as texts or dates.
        Default: all. (templated)
    :param max_file_size: How many bytes the file may have. Default 10 GiB.
    :param extra_body: Fields to add to the request's body, for what the vendor takes and this operator does not: a
        dict, or the text of a JSON object. A field that is set otherwise is refused. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the vendor is asked, where no
        webhook tells the end; it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left. Default True.
    :param on_lost_start: ``fail`` (the default) or ``restart`` when a start's reply was lost: see `RunOperator`.
    :param on_changed_arguments: ``adopt`` (the default) or ``restart`` when an open run was asked for something else:
        see `RunOperator`.
    :param kwargs: Those of every operator.
    """

    kind_name = "export"
    id_key = "export_id"
    template_fields: Sequence[str] = (
        "dataset_id",
        "dataset_name",
        "output_path",
        "export_format",
        "date_range",
        "extra_body",
        "openanalyst_conn_id",
    )
    template_fields_renderers = {"date_range": "json", "extra_body": "json"}
    ui_color = "#dff2e8"

    def __init__(
        self,
        *,
        dataset_id: str | None = None,
        dataset_name: str | None = None,
        output_path: str | None = None,
        export_format: Literal["csv", "parquet"] = "csv",
        date_range: Mapping[str, Any] | None = None,
        max_file_size: int = MAX_FILE_SIZE,
        extra_body: Mapping[str, Any] | str | None = None,
        openanalyst_conn_id: str = CONN_ID,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = POLL_INTERVAL,
        timeout: float | timedelta = TIMEOUT,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        on_changed_arguments: Literal["adopt", "restart"] = "adopt",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            deferrable=deferrable,
            wait_for_completion=wait_for_completion,
            poll_interval=poll_interval,
            timeout=timeout,
            durable=durable,
            on_lost_start=on_lost_start,
            on_changed_arguments=on_changed_arguments,
            extra_body=extra_body,
            openanalyst_conn_id=openanalyst_conn_id,
            **kwargs,
        )
        one_of("dataset", dataset_id, dataset_name)
        self.dataset_id = dataset_id
        self.dataset_name = dataset_name
        self.output_path = output_path
        self.export_format = export_format
        self.date_range = date_range
        self.max_file_size = whole_number("max_file_size", max_file_size)

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.exceptions import InvalidArgument
        from airflow_provider_nenoa.results.storage import Place

        self.form.export(id_to_check("dataset", self), self.export_format, **self._options())
        if self.output_path:
            Place(self.output_path).check()
        elif self.wait_for_completion:
            raise InvalidArgument("'output_path' is missing: where shall the file be stored? Nothing was sent.")

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the export."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        dataset_id = id_of("dataset", self, hook)
        return hook.start_export(dataset_id, self.export_format, **self._options(), before_send=before_send)

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Fetch the file."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        file = hook.download_export(
            run.run_id, str(self.output_path), export_format=self.export_format, max_file_size=self.max_file_size
        )
        dataset_id = self.dataset_id
        if dataset_id is None and isinstance(run.payload, dict):
            dataset_id = run.payload.get("dataset_id")
        return {"export_id": run.run_id, "dataset_id": dataset_id, "status": run.word, "files": [file]}

    def _options(self) -> dict[str, Any]:
        return {"date_range": self.json_argument("date_range"), "extra_body": self.json_argument("extra_body")}
