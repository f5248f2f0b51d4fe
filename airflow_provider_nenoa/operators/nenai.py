"""Operators for NenAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.links.nenai import NenAIRunLink, run_url
from airflow_provider_nenoa.operators.base import RunOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context
    from requests.auth import AuthBase

    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.storage import StoredFile
    from airflow_provider_nenoa.triggers.base import RunTrigger

MAX_FILES = 1_000
MAX_FILE_SIZE = 10 * 1024**3


class NenAIRunWorkflowOperator(RunOperator):
    """
    Run a NenAI workflow and return what it produced.

    NenAI tells the end of a run by webhook only. So the connection needs a ``webhook_secret``, and NenAI must be able
    to reach the receiver in Airflow's API server; both are checked before the run is started.

    Returns a dict: ``message_id``, ``workflow_id``, ``status`` (NenAI's word), ``result`` (the webhook's whole body,
    with the presigned URLs of the results) and ``files``: with ``output_path``, one dict per file that was stored
    there, with ``name``, ``path``, ``size`` (bytes) and ``sha256``.

    The presigned URLs expire. With ``output_path``, the files are fetched as soon as the run has ended. Where they
    cannot be fetched in time, and the connection names no ``run_status_path`` to get fresh URLs by, the task fails
    without retries, and clearing it runs the workflow again.

    :param workflow_id: The workflow's UUID. (templated)
    :param workflow_params: Its parameters; must be JSON. (templated)
    :param secure_workflow_params: Its secret parameters, texts only. Templates in it are rendered, but it is kept out
        of the task's rendered fields, and its values are masked in logs. NenAI wants such a request signed: see
        ``auth``.
    :param auth: A ``requests.auth.AuthBase`` that signs the start by the scheme that you set up with NenAI.
    :param output_path: The directory to store the run's files in: any URL that Airflow's ``ObjectStoragePath``
        understands, for example ``s3://aws_default@bucket/{{ ds }}``. Default: they are not fetched. (templated)
    :param max_files: How many files the run may have. Default 1,000.
    :param max_file_size: How many bytes one of them may have. Default 10 GiB.
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    :param kwargs: ``deferrable``, ``wait_for_completion``, ``poll_interval``, ``timeout``, ``durable`` and
        ``on_lost_start`` of `RunOperator`, and those of every operator.
    """

    kind_name = "workflow"
    id_key = "message_id"
    template_fields: Sequence[str] = ("workflow_id", "workflow_params", "output_path", "nenai_conn_id")
    template_fields_renderers = {"workflow_params": "json"}
    operator_extra_links = (NenAIRunLink(),)
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        workflow_id: str,
        workflow_params: Mapping[str, Any] | None = None,
        secure_workflow_params: Mapping[str, str] | None = None,
        auth: AuthBase | None = None,
        output_path: str | None = None,
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        nenai_conn_id: str = "nenai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.workflow_params = workflow_params
        self.secure_workflow_params = secure_workflow_params
        self.auth = auth
        self.output_path = output_path
        self.max_files = max_files
        self.max_file_size = max_file_size
        self.nenai_conn_id = nenai_conn_id

    @property
    def conn_id(self) -> str:
        """The Airflow connection."""
        return self.nenai_conn_id

    def make_hook(self) -> NenAIHook:
        """Make the hook for the connection."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook

        return NenAIHook(self.nenai_conn_id, auth=self.auth)

    def execute(self, context: Context) -> Any:
        """Render the secret parameters here, where nobody records them, then run."""
        from airflow_provider_nenoa.compat import mask_secret
        from airflow_provider_nenoa.hooks.nenai import text_object

        if self.secure_workflow_params:
            rendered = self.render_template(self.secure_workflow_params, context)
            self.secure_workflow_params = text_object("secure_workflow_params", rendered)
            for value in self.secure_workflow_params.values():
                mask_secret(value)
        return super().execute(context)

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.hooks.base import json_object
        from airflow_provider_nenoa.hooks.nenai import workflow_uuid

        workflow_uuid(self.workflow_id)
        json_object("workflow_params", self.workflow_params or {})
        if self.output_path:
            from airflow_provider_nenoa.storage import Place

            Place(self.output_path)

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the workflow."""
        hook: NenAIHook = self.hook  # type: ignore[assignment]
        return hook.start_run(
            self.workflow_id,
            self.workflow_params,
            secure_workflow_params=self.secure_workflow_params,
            webhook_callback=callback_url,
            before_send=before_send,
        )

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Store the files, and return what NenAI sent."""
        from airflow_provider_nenoa.exceptions import ResultsExpired

        hook: NenAIHook = self.hook  # type: ignore[assignment]
        files: list[StoredFile] = []
        if self.output_path:
            try:
                files = hook.download_results(
                    run, self.output_path, max_files=self.max_files, max_file_size=self.max_file_size
                )
            except ResultsExpired:
                self.memory(context).forget()  # nobody can finish this run any more
                raise
        return {
            "message_id": run.run_id,
            "workflow_id": self.workflow_id,
            "status": run.word,
            "result": run.payload,
            "files": files,
        }

    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run."""
        from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

        return NenAIWorkflowRunTrigger(run_id, self.nenai_conn_id, **kwargs)

    def the_run(self, run_id: str | None) -> str:
        return super().the_run(run_id) + (f" ({run_url(run_id)})" if run_id else "")


class NenAIDownloadResultsOperator(BaseOperator):
    """
    Store the files of a workflow run that has ended, for example one that a `NenAIWorkflowRunSensor` has awaited.

    The payload with their URLs comes from our receiver, or from NenAI where the connection names a
    ``run_status_path``. The URLs expire: let this task follow the run's end closely.

    Returns a list with one dict per file: ``name`` (where its URL stands in the payload), ``path``, ``size`` (bytes)
    and ``sha256``.

    :param message_id: The ``messageId`` of the run. (templated)
    :param output_path: The directory to store the files in: any URL that Airflow's ``ObjectStoragePath`` understands.
        (templated)
    :param max_files: How many files the run may have. Default 1,000.
    :param max_file_size: How many bytes one of them may have. Default 10 GiB.
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
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        nenai_conn_id: str = "nenai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.message_id = message_id
        self.output_path = output_path
        self.max_files = max_files
        self.max_file_size = max_file_size
        self.nenai_conn_id = nenai_conn_id

    def execute(self, context: Context) -> list[StoredFile]:
        """Get the payload, then the files."""
        from airflow_provider_nenoa.exceptions import DownloadFailed, RunFailed
        from airflow_provider_nenoa.hooks.base import required
        from airflow_provider_nenoa.hooks.nenai import NenAIHook
        from airflow_provider_nenoa.waiting import asking
        from airflow_provider_nenoa.waiting.kinds import WORKFLOW, RunKey

        message_id = required("message_id", self.message_id)
        context["ti"].xcom_push(key="message_id", value=message_id)  # for the link
        hook = NenAIHook(self.nenai_conn_id)
        key = RunKey(self.nenai_conn_id, WORKFLOW.name, message_id)
        ended = asking.ask(hook, key)
        if ended is None:
            raise DownloadFailed(
                f"NenAI workflow run {message_id} has not ended, as far as connection '{self.nenai_conn_id}' can tell: "
                "there are no files yet. Let a NenAIWorkflowRunSensor wait for its end first."
            )
        run = asking.read(hook, key, ended)
        if not run.status.is_success:
            raise RunFailed(f"NenAI workflow run {message_id} ended in '{run.word}': {run.error or 'no reason given'}")
        return hook.download_results(run, self.output_path, max_files=self.max_files, max_file_size=self.max_file_size)
