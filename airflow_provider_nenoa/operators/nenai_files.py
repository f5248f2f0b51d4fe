"""The operator for the files of a run of NenAI's that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.links.nenai import NenAIRunLink
from airflow_provider_nenoa.operators.nenai_base import MAX_FILE_SIZE, MAX_FILES, check_files_known, checked_files
from airflow_provider_nenoa.triggers import whole_number, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_nenoa.results.storage import StoredFile


class NenAIDownloadResultsOperator(BaseOperator):
    """
    Store the files of a workflow run that has ended, for example one that a `NenAIWorkflowRunSensor` has awaited.

    The payload with their URLs comes from our receiver, or from NenAI where the connection names a
    ``run_status_path``. The URLs expire: let this task follow the run's end closely.

    Returns a list with one dict per file: ``name`` (what the zip calls it, or where its URL stands in the payload),
    ``path``, ``size`` (bytes) and ``sha256``.

    :param message_id: The ``messageId`` of the run. (templated)
    :param output_path: The directory to store the files in: any URL that Airflow's ``ObjectStoragePath`` understands.
        (templated)
    :param files: Where in the payload other URLs of files stand, as for `NenAIRunWorkflowOperator`.
    :param unpack: Whether the zip's members are stored, instead of the zip. Default True.
    :param max_files: How many files the run may have, and how many its zip. Default 1,000.
    :param max_file_size: How many bytes one of them may have, and all in the zip together. Default 10 GiB.
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    """

    template_fields: Sequence[str] = ("message_id", "output_path", "nenai_conn_id")
    operator_extra_links = (NenAIRunLink(),)
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        message_id: str,
        output_path: str,
        files: str | Sequence[str] = (),
        unpack: bool = True,
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        nenai_conn_id: str = "nenai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.message_id = message_id
        self.output_path = output_path
        self.files = checked_files(files)
        self.unpack = yes_or_no("unpack", unpack)
        self.max_files = whole_number("max_files", max_files)
        self.max_file_size = whole_number("max_file_size", max_file_size)
        self.nenai_conn_id = nenai_conn_id

    def execute(self, context: Context) -> list[StoredFile]:
        """Get the payload, then the files."""
        from airflow_provider_nenoa.exceptions import DownloadFailed, RunFailed
        from airflow_provider_nenoa.hooks.nenai import NenAIHook
        from airflow_provider_nenoa.vendors.arguments import required
        from airflow_provider_nenoa.waiting import asking
        from airflow_provider_nenoa.waiting.kinds import WORKFLOW, RunKey

        message_id = required("message_id", self.message_id)
        self.remote_run_id: str | None = message_id  # for the link
        if self.do_xcom_push:
            context["ti"].xcom_push(key="message_id", value=message_id)
        hook = NenAIHook(self.nenai_conn_id)
        key = RunKey(self.nenai_conn_id, WORKFLOW.name, message_id)
        ended = asking.ask(hook, key)
        if ended is None:
            raise DownloadFailed(
                f"NenAI workflow run {message_id} has not ended, as far as connection '{self.nenai_conn_id}' can tell: "
                "there are no files yet.\nLet a NenAIWorkflowRunSensor wait for its end first."
            )
        run = asking.read(hook, key, ended)
        if not run.status.is_success:
            raise RunFailed(f"NenAI workflow run {message_id} ended in '{run.word}': {run.error or 'no reason given'}")
        check_files_known(run)
        return hook.download_results(
            run,
            self.output_path,
            files=self.files,
            unpack=self.unpack,
            max_files=self.max_files,
            max_file_size=self.max_file_size,
        )
