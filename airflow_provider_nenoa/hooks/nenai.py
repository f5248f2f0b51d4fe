"""NenAI: one method per endpoint, nothing about waiting."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_nenoa.exceptions import InvalidConnection, NenoaError
from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.hooks.mcp import McpClient
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi, check_base_url
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.vendors import nenai, nenai_mcp
from airflow_provider_nenoa.vendors.arguments import required
from airflow_provider_nenoa.webhooks.secret import webhook_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from requests.auth import AuthBase

    from airflow_provider_nenoa.results.storage import StoredFile


class NenAIHook(VendorHook):
    """
    Talk to NenAI's REST API and, where the connection names it, to its MCP server, which can be asked about runs.

    :param nenai_conn_id: A connection of type ``nenai``: password = API key, host = base URL if it is not
        ``https://api.getnen.ai``. Default ``nenai_default``.
    :param auth: Signs requests with ``secure_workflow_params`` by the scheme that you have set up with the vendor.
    :param kwargs: ``retry_for`` and ``on_response`` of `VendorHook`.
    """

    vendor = nenai.NAME
    default_host = nenai.BASE_URL
    conn_type = "nenai"
    conn_name_attr = "nenai_conn_id"
    default_conn_name = "nenai_default"
    hook_name = "NenAI"
    advice: ClassVar[Mapping[str, str]] = {nenai.SIGNING_MISSING: nenai.HOW_TO_SIGN}

    def __init__(self, nenai_conn_id: str = default_conn_name, *, auth: AuthBase | None = None, **kwargs: Any) -> None:
        super().__init__(nenai_conn_id, **kwargs)
        self.auth = auth

    @property
    def run_status_path(self) -> str | None:
        """
        The path under which this workspace's runs can be polled, from the connection.

        NenAI documents none: without it, only a webhook tells the end of a run.

        :raises InvalidConnection: The connection's ``run_status_path`` has no ``{message_id}``.
        """
        path = self.settings.text("run_status_path")
        if not path:
            return None
        if not path.startswith("/") or nenai.ID_PLACEHOLDER not in path:
            raise InvalidConnection(
                f"Connection '{self.conn_id}': the extra field 'run_status_path' is {path!r}; it must be a path with "
                "the placeholder {message_id}, for example /runs/{message_id}."
            )
        return path

    @property
    def mcp_url(self) -> str | None:
        """
        The address of NenAI's MCP server, from the connection; None: it is not used.

        :raises InvalidConnection: The connection's ``mcp_url`` is no https URL (http for a loopback host).
        """
        url = self.settings.extra.get("mcp_url")
        if url is None or (isinstance(url, str) and not url.strip()):
            return None
        try:
            if not isinstance(url, str):
                raise InvalidConnection(f"its extra field 'mcp_url' is {url!r}, which is no URL.")
            text = url.strip()
            return check_base_url(text if "://" in text else f"https://{text}", field="extra field 'mcp_url'")
        except InvalidConnection as error:
            raise InvalidConnection(f"Connection '{self.conn_id}': {error}") from None

    @property
    def can_ask(self) -> bool:
        """Whether NenAI can be asked how a run stands: by ``run_status_path`` or ``mcp_url``."""
        return self.run_status_path is not None or self.mcp_url is not None

    @property
    def who_answers(self) -> str:
        """Who is asked how a run stands, for messages: its API, or its MCP server where no path of the API is known."""
        return "NenAI" if self.run_status_path is not None else "NenAI's MCP server"

    @cached_property
    def mcp(self) -> McpClient:
        """
        The client of NenAI's MCP server.

        :raises InvalidConnection: The connection names none.
        """
        url, settings = self.mcp_url, self.settings
        if url is None:
            raise InvalidConnection(
                f"Connection '{self.conn_id}' has no 'mcp_url', and only NenAI's MCP server can tell this.\nSet it to "
                f"{nenai_mcp.URL}."
            )
        return McpClient(
            HttpApi(
                f"{self.vendor}'s MCP server",
                url,
                self._auth(settings.api_key),
                conn_id=settings.conn_id,
                field="'mcp_url'",
                advice=self.advice,
                secrets=(settings.api_key, *webhook_secrets(settings.extra)),
                timeout=settings.timeout,
                retry_for=self.retry_for,
                on_response=lambda response: self.on_response(response),
            )
        )

    def start_run(
        self,
        workflow_id: str,
        workflow_params: Mapping[str, Any] | None = None,
        *,
        secure_workflow_params: Mapping[str, str] | None = None,
        webhook_callback: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start a run of a workflow.

        :param workflow_id: The workflow's UUID.
        :param workflow_params: Its parameters; must be JSON.
        :param secure_workflow_params: Its secret parameters, texts only. NenAI wants such a request signed: give
            the hook an ``auth``.
        :param webhook_callback: Where NenAI reports ``processing`` and then ``success`` or ``failed``.
        :param extra_body: Fields to add to the request's body, for what NenAI takes and this method does not.
        :param before_send: Called immediately before the first byte of the request goes out.
        :return: The run; its id is NenAI's ``messageId``.
        :raises StartOutcomeUnknown: The workflow may or may not run now.
        """
        body = nenai.start_body(workflow_id, workflow_params, secure_workflow_params, webhook_callback, extra_body)
        reply = self.api.start(
            nenai.RUNS_PATH, body, auth=self.auth if secure_workflow_params else None, before_send=before_send
        )
        return nenai.read_start(reply)

    def get_run(self, message_id: str) -> Run:
        """
        Ask how a run stands: at the connection's ``run_status_path`` or, without one, NenAI's MCP server.

        :param message_id: The ``messageId`` that the start's reply gave.
        :return: The run. The MCP server tells its status and why it failed, neither its result nor its files.
        :raises InvalidConnection: The connection names neither.
        :raises NotFound: NenAI knows no such run.
        """
        template = self.run_status_path
        if template is not None:
            path = nenai.status_path(template, message_id)
            return nenai.read_state(self.api.get(path), message_id, path)
        if self.mcp_url is None:
            raise InvalidConnection(
                f"Connection '{self.conn_id}' has neither an 'mcp_url' nor a 'run_status_path': NenAI cannot be asked "
                f"how a run stands.\nSet 'mcp_url' to {nenai_mcp.URL}."
            )
        message_id = required("message_id", message_id)
        answer, _ = self._ask_tool(nenai_mcp.STATUS, nenai_mcp.status_arguments(message_id))
        return nenai_mcp.read_status(answer, message_id)

    def list_runs(self, workflow_id: str, limit: int = 10) -> list[dict[str, Any]]:
        """
        List the newest runs of a workflow (MCP tool ``nen_list_runs``).

        :param workflow_id: The workflow's UUID.
        :param limit: How many, at most. Default 10.
        :return: What NenAI says of each: ``messageId``, ``status``, ``createdAt``, ``updatedAt``; the newest first.
        :raises InvalidConnection: The connection has no ``mcp_url``.
        """
        arguments = nenai_mcp.list_runs_arguments(nenai.workflow_uuid(workflow_id), limit)
        return nenai_mcp.runs_in(self._ask_tool(nenai_mcp.LIST_RUNS, arguments)[0])

    def run_listing(self, workflow_id: str, since: float) -> nenai_mcp.RunListing:
        """
        List the runs of a workflow, as many as it takes to see all that were made since a time.

        :param workflow_id: The workflow's UUID.
        :param since: The time, in Unix seconds of our clock.
        :return: The runs. Should NenAI list fewer than there are, `RunListing.reaches` tells.
        """
        listing = nenai_mcp.RunListing((), False)
        for limit in nenai_mcp.LIMITS:
            arguments = nenai_mcp.list_runs_arguments(nenai.workflow_uuid(workflow_id), limit)
            try:
                answer, clock_ahead = self._ask_tool(nenai_mcp.LIST_RUNS, arguments)
            except NenoaError:
                if not listing.runs:
                    raise
                break  # so many may be more than it lists
            before, listing = len(listing.runs), nenai_mcp.read_listing(answer, clock_ahead)
            if listing.reaches(since + (clock_ahead or 0.0)) or len(listing.runs) <= before:
                break
        return listing

    def list_workflows(self, deployment_id: str | None = None) -> list[dict[str, Any]]:
        """
        List the workflows (MCP tool ``nen_list_workflows``).

        :param deployment_id: Those of another deployment than the API key's own.
        :return: What NenAI says of each: ``workflowId``, ``workflowName``, ``createdAt``, ``updatedAt``,
            ``publishedAt``.
        :raises InvalidConnection: The connection has no ``mcp_url``.
        """
        arguments = nenai_mcp.list_workflows_arguments(deployment_id)
        return nenai_mcp.workflows_in(self._ask_tool(nenai_mcp.LIST_WORKFLOWS, arguments)[0])

    def workflow_id_of(self, workflow_name: str) -> str:
        """
        Find a workflow by its name.

        :param workflow_name: The name, as NenAI has it: case matters.
        :raises InvalidArgument: None has this name, or several have.
        :raises InvalidConnection: The connection has no ``mcp_url``.
        """
        return nenai_mcp.workflow_named(required("workflow_name", workflow_name), self.list_workflows())

    def get_run_logs(self, message_id: str, deployment_id: str | None = None) -> str:
        """
        Read the log of a run (MCP tool ``nen_get_run_logs``).

        :param message_id: The ``messageId`` of the run.
        :param deployment_id: Where the workflow is in another deployment than the API key's own.
        :return: The log's text: JSON lines, says NenAI.
        :raises InvalidConnection: The connection has no ``mcp_url``.
        """
        arguments = nenai_mcp.run_logs_arguments(required("message_id", message_id), deployment_id)
        result = self.mcp.call(nenai_mcp.RUN_LOGS, arguments)
        return nenai_mcp.read_logs(result.text, result.structured, result.is_error, self.mcp.connection)

    def last_log_lines(self, message_id: str) -> list[str]:
        """
        Read the end of a run's log for our own log: what looks presigned is cut, and so are long lines.

        :return: The lines, 50 at most; none where the connection has no ``mcp_url``.
        """
        return [] if self.mcp_url is None else nenai_mcp.last_lines(self.get_run_logs(message_id))

    def _ask_tool(self, tool: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], float | None]:
        result = self.mcp.call(tool, arguments)
        answer = nenai_mcp.read_answer(tool, result.text, result.structured, result.is_error, self.mcp.connection)
        return answer, result.clock_ahead

    def download_results(
        self,
        results: Run | Mapping[str, Any],
        output_path: str,
        *,
        files: str | Iterable[str] = (),
        unpack: bool = True,
        max_files: int = 1_000,
        max_file_size: int = 10 * 1024**3,
        parallel: int = 4,
    ) -> list[StoredFile]:
        """
        Store the files of a run that has ended.

        These are the members of the zip behind ``assets``, which has all that the workflow wrote, and whatever other
        presigned URLs its payload has outside of ``result``. ``result`` is the workflow's own data: a URL in it is
        fetched only if ``files`` names it.

        Files are streamed, and resumed where a connection broke. A file is put into its place once it is whole, and
        replaces an older one. The API key is not sent: a presigned URL needs none.

        :param results: The run, or its payload: the body of its last webhook.
        :param output_path: The directory to store them in: any URL that Airflow's ``ObjectStoragePath`` understands,
            for example ``s3://aws_default@bucket/prefix``.
        :param files: Where in the payload other URLs of files stand: a key path such as ``result.report_url``, or
            several; ``*`` stands for all entries of a list or object, as in ``result.pages.*.url``.
        :param unpack: Whether the zip's members are stored, each in its directory below ``output_path``, instead of
            the zip. Default True.
        :param max_files: How many files there may be, and how many a zip may have. Default 1,000.
        :param max_file_size: How many bytes one of them may have, and all that a zip has together. Default 10 GiB.
        :param parallel: How many are fetched at once. Default 4.
        :return: One dict per file, in the payload's order: ``name`` (where its URL stands in the payload, such as
            ``result.report_url``, or what the zip calls it), ``path``, ``size`` (bytes) and ``sha256`` (hex).
        :raises InvalidArgument: ``files`` has what is no key path.
        :raises FilesMissing: A file is gone or refused, or nothing is where ``files`` says.
        :raises ResultsExpired: The URLs are accepted no more, and the connection names no ``run_status_path`` to get
            fresh ones by.
        :raises ResultRefused: Too many files, too large a file, or an address that is not public.
        :raises DownloadFailed: A file could not be fetched, after several tries, or a zip is damaged.
        """
        from airflow_provider_nenoa.results.download import Downloads
        from airflow_provider_nenoa.vendors.key_paths import parse_key_paths

        payload = results.payload if isinstance(results, Run) else results
        message_id = results.run_id if isinstance(results, Run) else payload.get("message_id")
        downloads = Downloads(
            output_path,
            self.file_guard(),
            named=parse_key_paths(files),
            unpack=unpack,
            refresh=(lambda: self.get_run(str(message_id)).payload) if self.run_status_path and message_id else None,
            max_files=max_files,
            max_file_size=max_file_size,
            parallel=parallel,
        )
        return downloads.fetch(payload)

    def test_connection(self) -> tuple[bool, str]:
        """
        Send a start without a workflow, for the Test button: NenAI refuses it, and how it does tells of the key.

        A 400 about ``workflow_id`` means that the key was accepted; nothing is started.
        """
        try:
            response = self.api.probe("POST", nenai.RUNS_PATH, json={})
        except NenoaError as error:
            return False, str(error)
        if not nenai.accepts_key(response.status_code, response.text):
            return False, str(self.api.error_of(response))
        accepted = f"{self.vendor} accepted the API key at {self.settings.base_url}."
        try:
            if self.mcp_url is None:
                return True, accepted
            self.mcp.open()
        except NenoaError as error:
            return False, f"{accepted} But: {error}"
        return True, f"{accepted} Its MCP server answers at {self.mcp_url}."

    def _auth(self, api_key: str) -> AuthBase:
        return ApiKeyAuth(nenai.API_KEY_HEADER, api_key)
