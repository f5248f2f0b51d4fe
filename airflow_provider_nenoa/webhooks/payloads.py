"""From the body of a webhook, already known to be the vendor's, to the run that it tells of."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_nenoa.runs import Run, status_of
from airflow_provider_nenoa.webhooks.paths import is_token

MAX_DEPTH = 100
"""Objects and lists within each other. Far below what Python's JSON parser can take, here and in whoever reads it."""

_ID_FIELDS = {
    "nenai": ("message_id",),  # NenAI docs
    "openanalyst": ("run_id", "query_id", "id"),  # OpenAnalyst API page: "run ID"; queries are known by their id
}


class BadPayload(ValueError):
    """
    The body cannot be stored as an event.

    :param status_code: The HTTP status that says so: 400 for what is not a JSON object, 422 for a wrong one.
    :param message: What is wrong, without anything from the body.
    """

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


def read_run(conn_type: str, body: bytes) -> Run:
    """
    Read the run out of a webhook's body.

    :param conn_type: ``nenai`` or ``openanalyst``: the vendors name things differently.
    :param body: The raw request body.
    :return: The run, with the whole body as its payload.
    :raises BadPayload: It is not a JSON object, has no usable run id, or a status word that we do not know.
    """
    try:
        payload = json.loads(body)
        # Refuses NaN and Infinity, which Python reads but which are not JSON: whoever asks for the run could not be
        # answered.
        json.dumps(payload, allow_nan=False)
    except (ValueError, RecursionError):
        raise BadPayload(400, "The body is not JSON.") from None
    if not isinstance(payload, dict):
        raise BadPayload(400, "The body is not a JSON object.")
    if _deeper_than(MAX_DEPTH, payload):
        raise BadPayload(400, f"The body is nested more than {MAX_DEPTH} levels deep.")
    names = _ID_FIELDS[conn_type]
    run_id = next((payload[name] for name in names if payload.get(name) is not None), None)
    if isinstance(run_id, int) and not isinstance(run_id, bool):
        run_id = str(run_id)
    if not isinstance(run_id, str) or not is_token(run_id):
        raise BadPayload(422, f"There is no usable run id in {' or '.join(names)}.")
    word = payload.get("status")
    if not isinstance(word, str) or status_of(word) is None:
        raise BadPayload(422, "The status is missing, or none that we know.")
    return Run(run_id, word.strip(), payload)


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
