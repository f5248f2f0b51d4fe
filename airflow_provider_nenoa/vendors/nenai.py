"""NenAI, by its API introduction and the public pages that it leads to: requests, replies, webhooks, files."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidReply, StartOutcomeUnknown
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.vendors import payloads
from airflow_provider_nenoa.vendors.arguments import json_object, path_segment, required, text_object, with_extra
from airflow_provider_nenoa.vendors.messages import Message, id_in, parts_of, text_in
from airflow_provider_nenoa.vendors.presigned import is_presigned
from airflow_provider_nenoa.vendors.signatures import Scheme

NAME = "NenAI"
BASE_URL = "https://api.getnen.ai"
API_KEY_HEADER = "x-api-key"
RUNS_PATH = "/runs"
SIGNATURE = Scheme("X-Hmac-Signature", "sha256=", exact=True)  # "X-Hmac-Signature: sha256=<hex>", lowercase
SIGNING_MISSING = "hmac_required_for_secure_params"
"""The code of the 403 for ``secure_workflow_params`` in a request that is not signed."""
HOW_TO_SIGN = (
    "NenAI wants requests with secure_workflow_params signed, by a scheme that it sets up with you and does not "
    "publish. Pass a requests.auth.AuthBase that signs this way as 'auth'; if you do, its signature was not accepted."
)
ARCHIVE_KEY = "assets"
RESULT_KEY = "result"
_ENVELOPES = ("data", "run")
"""Where a webhook may tell of its run, if not at its top: no page shows this."""
_IDS = ("message_id", "messageId")
_ENDS = {"true": "success", "1": "success", "false": "failed", "0": "failed"}
"""The status that form 2's ``success`` stands for."""
RUN_KINDS: tuple[str, ...] = ("workflow",)
"""The kinds of runs that a webhook may be about."""
ID_PLACEHOLDER = "{message_id}"
"""What stands for the run's id in a ``run_status_path``: no endpoint for a run's state is documented."""


def start_body(
    workflow_id: str,
    workflow_params: Mapping[str, Any] | None = None,
    secure_workflow_params: Mapping[str, str] | None = None,
    webhook_callback: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Return the body of ``POST /runs``.

    :raises InvalidArgument: An argument makes no sense.
    """
    body: dict[str, Any] = {
        "workflow_id": workflow_uuid(workflow_id),
        "workflow_params": json_object("workflow_params", {} if workflow_params is None else workflow_params),
    }
    if secure_workflow_params:
        body["secure_workflow_params"] = text_object("secure_workflow_params", secure_workflow_params)
    if webhook_callback:
        body["webhook_callback"] = webhook_callback
    return with_extra(body, extra_body)


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


def read_start(reply: dict[str, Any]) -> Run:
    """
    Read the answer to ``POST /runs``.

    :raises StartOutcomeUnknown: It names no run.
    """
    message_id = reply.get("messageId") or reply.get("message_id")
    if not isinstance(message_id, (str, int)) or isinstance(message_id, bool):
        raise StartOutcomeUnknown(
            f"NenAI accepted POST /runs, but its reply has no 'messageId' (it has {sorted(reply)}): a run may "
            "have started that cannot be named. It was not sent again.",
            why="its reply has no 'messageId'",
        )
    return Run(str(message_id), "queued", reply)


def status_path(template: str, message_id: str) -> str:
    """Return the path of a run's state in a workspace that has one."""
    return template.replace(ID_PLACEHOLDER, path_segment("message_id", message_id))


def read_state(reply: dict[str, Any], message_id: str, path: str) -> Run:
    """
    Read how a run stands.

    :raises InvalidReply: There is no status in it.
    """
    word = text_in(reply, ("status",))
    if not word:
        raise InvalidReply(f"NenAI answered GET {path} without a 'status' (it has {sorted(reply)}).")
    return Run(message_id, word, reply)


def accepts_key(status_code: int, text: str) -> bool:
    """Whether the answer to a ``POST /runs`` without a workflow tells that the key is good; nothing is started."""
    return status_code == 400 and "workflow_id" in text


def read_webhook(payload: Any, kind: str | None = None) -> Message:
    """
    Read a webhook's body, in both forms that the vendor's pages show, alone or mixed.

    Form 1 has ``message_id`` and ``status``; form 2, of the SDK's pages, ``success`` with ``result`` or ``error``.
    Where both are there, ``status`` says how the run stands, also with a word that is new to us.
    """
    if not isinstance(payload, dict):
        return Message(of_run=False)
    for part in parts_of(payload, _ENVELOPES):  # an envelope counts only where the body itself tells nothing
        run_id = id_in(part, _IDS)
        word = text_in(part, ("status",)) or _ENDS.get(str(part.get("success")).strip().lower(), "")
        if run_id is not None or word:
            break
    return Message(run_id, word, "workflow", text_in(payload, ("event",)) or None)


def files_in(payload: Mapping[str, Any]) -> dict[str, str]:
    """
    Find the URLs of a run's files in its payload.

    These are: whatever ``assets`` has, by NenAI's pages "one presigned URL of a zip of all files that the workflow
    wrote"; and outside of ``result`` any URL that looks presigned. ``result`` is what the workflow's author returned:
    a URL in it is data, such as a link that was read from a screen.

    :return: Where each URL stands, by the URL.
    """
    found = payloads.urls_in(_without_result(payload))
    return {url: name for url, name in found.items() if is_archive(name) or is_presigned(url)}


def is_archive(name: str) -> bool:
    """Whether what stands at this place of a payload is the zip of a run's files."""
    return re.match(rf"(({'|'.join(_ENVELOPES)})\.)?{ARCHIVE_KEY}($|[.\[])", name) is not None


def _without_result(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the workflow's own data out, wherever its end is told."""
    return {
        key: _without_result(value) if key in _ENVELOPES and isinstance(value, Mapping) else value
        for key, value in payload.items()
        if key != RESULT_KEY
    }


def run_url(message_id: str) -> str:
    """Return the address of a run in the browser."""
    return f"https://app.getnen.ai/runs/{message_id}"
