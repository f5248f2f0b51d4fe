"""OpenAnalyst's errors, in each form that is in use: the two of the vendor's pages, and three common ones."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from fastapi.responses import JSONResponse

ErrorForm = Literal["api", "server", "detail", "errors", "problem"]

CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
}
_SERVER_CODES = {
    400: "invalid_request",
    401: "authentication_required",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "internal_error",
}


class OpenAnalystError(Exception):
    """An error in the vendor's form (OpenAnalyst docs: "Error Handling")."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers

    def response(self, form: ErrorForm) -> JSONResponse:
        body = error_body(self.status, self.message, self.code, form)
        return JSONResponse(body, self.status, self.headers, media_type(form))


def media_type(form: ErrorForm) -> str:
    """What an error is labelled with."""
    return "application/problem+json" if form == "problem" else "application/json"


def error_body(status: int, message: str, code: str | None = None, form: ErrorForm = "api") -> dict[str, Any]:
    """The body of an error reply.

    :param code: the vendor's code; None: the one that belongs to the status.
    :param form: ``api`` (our seed); ``server`` (the vendor's other reference: other codes, ``request_id`` inside);
        ``detail``, as some frameworks write them; ``errors``, a list; ``problem``, RFC 9457.
    """
    code = code or CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "ERROR")
    request_id = f"req_{uuid.uuid4().hex[:16]}"
    if form == "detail":
        return {"detail": message}
    if form == "errors":
        return {"errors": [{"code": code, "message": message}]}
    if form == "problem":
        title = code.replace("_", " ").capitalize()
        return {"type": "about:blank", "title": title, "status": status, "detail": message, "instance": request_id}
    if form == "server":
        server_code = _SERVER_CODES.get(status, "internal_error" if status >= 500 else "error")
        return {"error": {"code": server_code, "message": message, "request_id": request_id}}
    return {"error": {"code": code, "message": message, "status": status}, "request_id": request_id}
