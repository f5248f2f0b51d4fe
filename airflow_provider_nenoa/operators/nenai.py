"""Operators for NenAI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_nenoa.links.nenai import NenAIRunLink
from airflow_provider_nenoa.operators import exported
from airflow_provider_nenoa.operators.base import POLL_INTERVAL, TIMEOUT, RunOperator, one_of
from airflow_provider_nenoa.operators.nenai_base import (
    MAX_FILE_SIZE,
    MAX_FILES,
    check_files_known,
    checked_files,
    workflow_of,
)
from airflow_provider_nenoa.triggers import whole_number, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.sdk import Context
    from requests.auth import AuthBase

    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.operators.lost_start import Finding
    from airflow_provider_nenoa.operators.nenai_files import NenAIDownloadResultsOperator
    from airflow_provider_nenoa.operators.nenai_objects import NenAIListRunsOperator, NenAIListWorkflowsOperator
    from airflow_provider_nenoa.results.storage import StoredFile
    from airflow_provider_nenoa.runs import Run

__all__ = [
    "NenAIDownloadResultsOperator",
    "NenAIListRunsOperator",
    "NenAIListWorkflowsOperator",
    "NenAIRunWorkflowOperator",
]
__getattr__ = exported(
    __name__,
    NenAIDownloadResultsOperator="nenai_files",
    NenAIListRunsOperator="nenai_objects",
    NenAIListWorkflowsOperator="nenai_objects",
)


class NenAIRunWorkflowOperator(RunOperator):
    """
    Run a NenAI workflow and return what it produced.

    The end of a run is told by webhook, where the connection has a ``webhook_secret`` and NenAI can reach the
    receiver in Airflow's API server; or NenAI's MCP server is asked, where the connection has an ``mcp_url``. Whether
    the end can be learnt is checked before the run is started.

    Returns a dict: ``message_id`` (None where only a webhook told of the run that did not name it), ``workflow_id``,
    ``status`` (NenAI's word), ``result`` (the webhook's whole body; or what the MCP server answered: it tells neither
    result nor files) and ``files``: with ``output_path``, one dict per file that was stored there, with ``name``,
    ``path``, ``size`` (bytes) and ``sha256``.

    The result stands in XCom, in Airflow's database. With ``output_path``, the presigned URLs of the files that were
    stored are not in it: ``fetched: see 'files'`` stands in their place. Without it, they are there as they came, and
    whoever can read the XCom can use them until they expire.

    The presigned URLs expire. With ``output_path``, the files are fetched as soon as the run has ended: those in the
    zip of all that the workflow wrote, and those that ``files`` names. Where one cannot be had, the task fails, and
    with ``durable`` clearing it tries the files of the same run again; no other run is started.

    :param workflow_id: The workflow's UUID. (templated)
    :param workflow_name: Its name instead, as NenAI has it; needs an ``mcp_url``. (templated)
    :param workflow_params: Its parameters: a dict, or the text of a JSON object. Values may be what upstream tasks
        return: see `arguments.plain`. (templated)
    :param secure_workflow_params: Its secret parameters, texts only. Templates in it are rendered, but it is kept out
        of the task's rendered fields and, in ``.partial()`` of a mapped task, of the serialised DAG; in ``.expand()``
        only templates and other tasks' outputs are taken. Its values are masked in logs. NenAI wants such a request
        signed: see ``auth``.
    :param auth: A ``requests.auth.AuthBase`` that signs the start by the scheme that you set up with NenAI.
    :param extra_body: Fields to add to the request's body, for what NenAI takes and this operator does not. A field
        that is set otherwise is refused. (templated)
    :param output_path: The directory to store the run's files in: any URL that Airflow's ``ObjectStoragePath``
        understands, for example ``s3://aws_default@bucket/{{ ds }}``. Default: they are not fetched. (templated)
    :param files: Where in the payload other URLs of files stand, which are to be fetched too: a key path such as
        ``result.report_url``, or a list of them; ``*`` stands for all entries, as in ``result.pages.*.url``. URLs in
        ``result`` are data, and are not requested unless they are named here.
    :param unpack: Whether the zip's members are stored, each in its directory below ``output_path``, instead of the
        zip. Default True.
    :param max_files: How many files the run may have, and how many its zip. Default 1,000.
    :param max_file_size: How many bytes one of them may have, and all in the zip together. Default 10 GiB.
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
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

    kind_name = "workflow"
    id_key = "message_id"
    conn_field = "nenai_conn_id"
    template_fields: Sequence[str] = (
        "workflow_id",
        "workflow_name",
        "workflow_params",
        "extra_body",
        "output_path",
        "nenai_conn_id",
    )
    template_fields_renderers = {"workflow_params": "json", "extra_body": "json"}
    operator_extra_links = (NenAIRunLink(),)
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        workflow_params: Mapping[str, Any] | str | None = None,
        secure_workflow_params: Mapping[str, Any] | str | None = None,
        auth: AuthBase | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        output_path: str | None = None,
        files: str | Sequence[str] = (),
        unpack: bool = True,
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        nenai_conn_id: str = "nenai_default",
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
            **kwargs,
        )
        one_of("workflow", workflow_id, workflow_name)
        self.workflow_id = workflow_id
        self.workflow_name = workflow_name
        self.workflow_params: Any = workflow_params
        if secure_workflow_params:
            from airflow_provider_nenoa.operators.secrets import shown_to_nobody

            secure_workflow_params = shown_to_nobody(self, "secure_workflow_params", secure_workflow_params)
        self.secure_workflow_params: Any = secure_workflow_params
        self._secrets_are_rendered = False
        self.auth = auth
        self.extra_body: Any = extra_body
        self.output_path = output_path
        self.files = checked_files(files)
        self.unpack = yes_or_no("unpack", unpack)
        self.max_files = whole_number("max_files", max_files)
        self.max_file_size = whole_number("max_file_size", max_file_size)
        self.nenai_conn_id = nenai_conn_id

    @property
    def conn_id(self) -> str:
        """The Airflow connection."""
        return self.nenai_conn_id

    def make_hook(self) -> NenAIHook:
        """Make the hook for the connection."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook

        return NenAIHook(self.nenai_conn_id, auth=self.auth)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Set arguments of a mapped task; the secret ones are not shown in the serialised DAG."""
        from airflow_provider_nenoa.operators.secrets import SecretPartial

        return SecretPartial(super().partial(**kwargs), "secure_workflow_params")

    def asked(self) -> dict[str, Any]:
        """Return what is asked for, by the arguments' names."""
        return {**super().asked(), "secure_workflow_params": self.secure_workflow_params}

    def prepare(self, context: Context) -> None:
        """Render the secret parameters here, where nobody records them, and keep them out of this process's logs."""
        from airflow_provider_nenoa.compat import mask_secret
        from airflow_provider_nenoa.vendors.arguments import text_object

        if not self.secure_workflow_params or self._secrets_are_rendered:
            return
        rendered = self.render_template(self.secure_workflow_params, context)
        self.secure_workflow_params = text_object("secure_workflow_params", rendered)
        self._secrets_are_rendered = True
        for value in self.secure_workflow_params.values():
            # Also as an error, or a whole payload in JSON, would show it.
            for text in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value)}:
                mask_secret(text)

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.vendors.arguments import optional_object, required
        from airflow_provider_nenoa.vendors.nenai import start_body

        # Upstream values are read once.
        self.workflow_params = optional_object("workflow_params", self.workflow_params)
        self.extra_body = optional_object("extra_body", self.extra_body)
        workflow_id = self.workflow_id or ""
        if self.workflow_name is not None:
            required("workflow_name", self.workflow_name)
            workflow_id = "00000000-0000-0000-0000-000000000000"  # it is looked up when everything else is right
        start_body(workflow_id, self.workflow_params, extra_body=self.extra_body)
        if self.output_path:
            from airflow_provider_nenoa.results.storage import Place

            Place(self.output_path).check(directory=True)

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the workflow."""
        hook: NenAIHook = self.hook  # type: ignore[assignment]
        if callback_url is None and self.wait_for_completion:
            self._check_asking(hook)
        return hook.start_run(
            workflow_of(self, hook),
            self.workflow_params,
            secure_workflow_params=self.secure_workflow_params,
            webhook_callback=callback_url,
            extra_body=self.extra_body,
            before_send=before_send,
        )

    def has_list(self) -> bool:
        """Whether NenAI's MCP server can be asked for its list of runs."""
        hook: NenAIHook = self.hook  # type: ignore[assignment]
        return hook.mcp_url is not None

    def look_in_list(self, started_at: float, ref: str, context: Context) -> Finding:
        """Look into NenAI's list for the run of a start whose reply was lost."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook
        from airflow_provider_nenoa.operators import lost_start
        from airflow_provider_nenoa.waiting import asking

        hook = NenAIHook(self.nenai_conn_id, retry_for=10.0)
        timeout = hook.settings.timeout
        listing = hook.run_listing(workflow_of(self, hook), started_at - lost_start.BLIND_SLACK)
        others = lost_start.ids_in_the_dag_run(context, self.kind_name, self.id_key)
        finding = lost_start.judge(listing, started_at, others, timeout=timeout)
        others |= asking.told_of_others(hook, finding.candidates, ref)
        return lost_start.judge(listing, started_at, others, timeout=timeout)

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Store the files, and return what NenAI sent."""
        from airflow_provider_nenoa.exceptions import FilesMissing

        hook: NenAIHook = self.hook  # type: ignore[assignment]
        files: list[StoredFile] = []
        payload = run.payload
        if self.output_path:
            check_files_known(run)
            try:
                files = hook.download_results(
                    run,
                    self.output_path,
                    files=self.files,
                    unpack=self.unpack,
                    max_files=self.max_files,
                    max_file_size=self.max_file_size,
                )
            except FilesMissing as error:
                # The note stays: the run is paid for, and its result is there even where its files are not.
                then = "Clear the task to try its files again; no other run is started." if self.durable else ""
                raise type(error)(f"{error} {self.the_run(run.run_id)} has succeeded. {then}".rstrip()) from None
            from airflow_provider_nenoa.results.payload_files import without_urls
            from airflow_provider_nenoa.vendors.key_paths import parse_key_paths

            payload = without_urls(payload, parse_key_paths(self.files))
        return {
            "message_id": run.run_id or None,  # a webhook need not name it
            "workflow_id": self.workflow_id or run.payload.get("workflow_id") or run.payload.get("workflowId"),
            "status": run.word,
            "result": payload,
            "files": files,
        }

    def _check_asking(self, hook: NenAIHook) -> None:
        """Make sure, before anything is spent, that the MCP server answers, if it is what the end is learnt from."""
        from airflow_provider_nenoa.exceptions import InvalidConnection

        if hook.run_status_path is not None:
            return
        if self.output_path:
            raise InvalidConnection(
                f"'output_path' is set, but of connection '{self.nenai_conn_id}' only the 'mcp_url' can be used, and "
                "NenAI's MCP server tells neither a run's result nor its files. Nothing was started.\nLet webhooks "
                "reach the receiver (with a 'webhook_secret'), or name a 'run_status_path'; or leave 'output_path' out."
            )
        hook.mcp.open()

    def the_run(self, run_id: str | None) -> str:
        from airflow_provider_nenoa.vendors.nenai import run_url

        return super().the_run(run_id) + (f" ({run_url(run_id)})" if run_id else "")
