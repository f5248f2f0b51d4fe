"""NenAI: one method per endpoint, nothing about waiting."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_nenoa.exceptions import (
    InvalidArgument,
    InvalidConnection,
    InvalidReply,
    NenoaError,
    PermissionDenied,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.hooks.base import (
    VendorHook,
    form_behaviour,
    form_widgets,
    json_object,
    path_segment,
    required,
)
from airflow_provider_nenoa.http import ApiKeyAuth, is_loopback
from airflow_provider_nenoa.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests.auth import AuthBase

    from airflow_provider_nenoa.storage import StoredFile


class NenAIHook(VendorHook):
    """
    Talk to NenAI's REST API.

    :param nenai_conn_id: A connection of type ``nenai``: password = API key, host = base URL if it is not
        ``https://api.getnen.ai``. Default ``nenai_default``.
    :param auth: Signs requests with ``secure_workflow_params`` by the scheme that you have set up with the vendor.
    :param kwargs: ``retry_for`` and ``on_response`` of `VendorHook`.
    """

    vendor = "NenAI"
    default_host = "https://api.getnen.ai"
    conn_type = "nenai"
    conn_name_attr = "nenai_conn_id"
    default_conn_name = "nenai_default"
    hook_name = "NenAI"

    def __init__(self, nenai_conn_id: str = default_conn_name, *, auth: AuthBase | None = None, **kwargs: Any) -> None:
        super().__init__(nenai_conn_id, **kwargs)
        self.auth = auth

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow before 3.2."""
        return form_widgets(cls.conn_type)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's behaviour, for Airflow before 3.2."""
        return form_behaviour(cls.conn_type)

    @property
    def run_status_path(self) -> str | None:
        """
        The path under which this workspace's runs can be polled, from the connection.

        NenAI documents none: without it, only a webhook tells the end of a run.

        :raises InvalidConnection: The connection's ``run_status_path`` has no ``{message_id}``.
        """
        path = self.settings.extra.get("run_status_path")
        if not path:
            return None
        if not isinstance(path, str) or not path.startswith("/") or "{message_id}" not in path:
            raise InvalidConnection(
                f"Connection '{self.conn_id}': the extra field 'run_status_path' is {path!r}; it must be a path with "
                "the placeholder {message_id}, for example /runs/{message_id}."
            )
        return path

    def start_run(
        self,
        workflow_id: str,
        workflow_params: Mapping[str, Any] | None = None,
        *,
        secure_workflow_params: Mapping[str, str] | None = None,
        webhook_callback: str | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Run:
        """
        Start a run of a workflow.

        :param workflow_id: The workflow's UUID.
        :param workflow_params: Its parameters; must be JSON.
        :param secure_workflow_params: Its secret parameters, texts only. NenAI wants such a request signed: give
            the hook an ``auth``.
        :param webhook_callback: Where NenAI reports ``processing`` and then ``success`` or ``failed``.
        :param before_send: Called immediately before the request goes out.
        :return: The run; its id is NenAI's ``messageId``.
        :raises StartOutcomeUnknown: The workflow may or may not run now.
        """
        body: dict[str, Any] = {
            "workflow_id": workflow_uuid(workflow_id),
            "workflow_params": json_object("workflow_params", {} if workflow_params is None else workflow_params),
        }
        if secure_workflow_params:
            body["secure_workflow_params"] = text_object("secure_workflow_params", secure_workflow_params)
        if webhook_callback:
            body["webhook_callback"] = webhook_callback
        try:
            reply = self.api.start(
                "/runs", body, auth=self.auth if secure_workflow_params else None, before_send=before_send
            )
        except PermissionDenied as error:
            if error.code != "hmac_required_for_secure_params":
                raise
            raise PermissionDenied(
                f"{error} NenAI wants requests with secure_workflow_params signed, by a scheme that it sets up with "
                "you and does not publish. Pass a requests.auth.AuthBase that signs this way as 'auth'.",
                http_status=error.http_status,
                code=error.code,
                request_id=error.request_id,
            ) from None
        message_id = reply.get("messageId") or reply.get("message_id")
        if not isinstance(message_id, str):
            raise StartOutcomeUnknown(
                f"NenAI accepted POST /runs, but its reply has no 'messageId' (it has {sorted(reply)}): a run may "
                "have started that cannot be named. It was not sent again."
            )
        return Run(message_id, "queued", reply)

    def get_run(self, message_id: str) -> Run:
        """
        Ask how a run stands, where the connection names ``run_status_path``.

        :param message_id: The ``messageId`` that the start's reply gave.
        :raises InvalidConnection: The connection names no path.
        """
        template = self.run_status_path
        if template is None:
            raise InvalidConnection(
                f"Connection '{self.conn_id}' names no 'run_status_path', and NenAI documents no endpoint for the "
                "state of a run: it is told by webhook only."
            )
        path = template.replace("{message_id}", path_segment("message_id", message_id))
        reply = self.api.get(path)
        word = reply.get("status")
        if not isinstance(word, str) or not word:
            raise InvalidReply(f"NenAI answered GET {path} without a 'status' (it has {sorted(reply)}).")
        return Run(message_id, word, reply)

    def download_results(
        self,
        results: Run | Mapping[str, Any],
        output_path: str,
        *,
        max_files: int = 1_000,
        max_file_size: int = 10 * 1024**3,
        parallel: int = 4,
    ) -> list[StoredFile]:
        """
        Store the files of a run that has ended: every http(s) URL in its payload, wherever it stands.

        They are streamed, and resumed where a connection broke. A file is put into its place once it is whole, and
        replaces an older one. The API key is not sent: a presigned URL needs none.

        :param results: The run, or its payload: the body of its last webhook.
        :param output_path: The directory to store them in: any URL that Airflow's ``ObjectStoragePath`` understands,
            for example ``s3://aws_default@bucket/prefix``.
        :param max_files: How many files there may be. Default 1,000.
        :param max_file_size: How many bytes one of them may have. Default 10 GiB.
        :param parallel: How many are fetched at once. Default 4.
        :return: One dict per file, in the payload's order: ``name`` (where its URL stands in the payload, such as
            ``results.files[0].url``), ``path``, ``size`` (bytes) and ``sha256`` (hex).
        :raises ResultsExpired: The URLs are accepted no more, and the connection names no ``run_status_path`` to get
            fresh ones by.
        :raises ResultRefused: Too many files, too large a file, or an address that is not public.
        :raises DownloadFailed: A file could not be fetched, after several tries.
        """
        from airflow_provider_nenoa.addresses import Guard
        from airflow_provider_nenoa.downloads import Downloads

        payload = results.payload if isinstance(results, Run) else results
        message_id = results.run_id if isinstance(results, Run) else payload.get("message_id")
        private_hosts = str(self.settings.extra.get("private_file_hosts") or "").split(",")
        downloads = Downloads(
            output_path,
            Guard(
                loopback=is_loopback(urlsplit(self.settings.base_url).hostname),
                private_hosts=[host.strip() for host in private_hosts if host.strip()],
            ),
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
            response = self.api.probe("POST", "/runs", json={})
        except NenoaError as error:
            return False, str(error)
        if response.status_code == 400 and "workflow_id" in response.text:
            return True, f"{self.vendor} accepted the API key at {self.settings.base_url}."
        return False, str(self.api.error_of(response))

    def _auth(self, api_key: str) -> AuthBase:
        return ApiKeyAuth("x-api-key", api_key)


def workflow_uuid(value: object) -> str:
    """
    Check a workflow id.

    :raises InvalidArgument: It is not a UUID, which NenAI asks for.
    """
    text = required("workflow_id", value)
    try:
        uuid.UUID(text)
    except ValueError:
        raise InvalidArgument(f"'workflow_id' must be a UUID, not {text!r}. Nothing was sent.") from None
    return text


def text_object(name: str, value: object) -> dict[str, str]:
    """
    Check an object of texts; its values never show up in the message.

    :raises InvalidArgument: It is not.
    """
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise InvalidArgument(f"'{name}' must be a dict whose keys and values are strings. Nothing was sent.")
    return value
