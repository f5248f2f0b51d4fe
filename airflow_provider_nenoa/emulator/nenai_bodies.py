"""What NenAI's webhooks say, in each form that one of the vendor's pages shows."""

from __future__ import annotations

from typing import Any

from airflow_provider_nenoa.emulator import files, presigned
from airflow_provider_nenoa.emulator.behaviour import WebhookForm
from airflow_provider_nenoa.emulator.state import Run

_CAMEL = {"message_id": "messageId", "workflow_id": "workflowId"}


def ends_with(run: Run, base: str, now: float, url_seconds: float) -> dict[str, Any]:
    """Where the files of a run that has succeeded are. The URLs are made, and begin to expire, when the run ends.

    :param base: of the URLs.
    :param now: Unix time.
    :param url_seconds: how long they are valid.
    """
    if run.behaviour.files_as == "zip":
        url, expires = presigned.presigned(base, files.assets_path(run.id), now, url_seconds)
        return {"expires_at": expires, "assets": url}
    shown = []
    expires = int(now + url_seconds)
    for file in run.behaviour.files or ():
        url, expires = presigned.presigned(base, files.file_path(run.id, file.name), now, url_seconds)
        shown.append({"name": file.name, "size": file.length, "url": url})
    return {"expires_at": expires, "results": {"files": shown}}


def progress(run: Run, word: str, expires_at: int) -> dict[str, Any]:
    """The body that tells of a run before its end: form 1, for form 2 has no words for it.

    :param word: ``processing``, as documented, or any other.
    :param expires_at: Unix seconds.
    """
    return _spelt(run, {**_ids(run), "status": word, "expires_at": expires_at, **run.behaviour.extra})


def end(run: Run, form: WebhookForm) -> dict[str, Any]:
    """The body that tells of a run's end, which has come."""
    body: dict[str, Any] = {}
    if form != "2":
        body |= _ids(run) | {"status": run.status}
    succeeded = run.status == "success"
    if form != "1" or not succeeded:
        body["success"] = succeeded
    if not succeeded:
        body["error"] = run.error
    if run.result is not None:
        body["result"] = run.result
    at_end = run.at_end if form != "2" else {name: value for name, value in run.at_end.items() if name != "expires_at"}
    return _spelt(run, {**body, **at_end, **run.behaviour.extra})


def _ids(run: Run) -> dict[str, Any]:
    return {"workflow_id": run.detail["workflow_id"], "message_id": run.id}


def _spelt(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    if run.behaviour.spelling == "snake":
        return body
    return {_CAMEL.get(name, name): value for name, value in body.items()}
