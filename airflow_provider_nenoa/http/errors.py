"""What a vendor's API answered, or that it did not, as the error to raise: in words, and without a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa.exceptions import ConnectionFailed, InvalidReply, NenoaError, StartOutcomeUnknown
from airflow_provider_nenoa.http import replies


class Errors:
    """
    The errors of one vendor's API.

    :param vendor: The vendor's name.
    :param base_url: Where the API is.
    :param connection: The Airflow connection, in words.
    :param address: What of it has the address, in words.
    :param advice: What to do about an error, by the vendor's code for it, where that says more than its status.
    :param secrets: Texts that must never show up in a message.
    """

    def __init__(
        self,
        vendor: str,
        base_url: str,
        connection: str,
        address: str,
        advice: Mapping[str, str],
        secrets: Iterable[str],
    ) -> None:
        self._vendor = vendor
        self._base_url = base_url
        self._connection = connection
        self._address = address
        self._advice = dict(advice)
        self._secrets = tuple(secret for secret in secrets if secret)

    def scrub(self, text: str) -> str:
        """Take the secrets out of a text for a message."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def named(self, method: str, path: str) -> str:
        """Name a request; all of its address may be in the base URL."""
        return f"{method} {path or urlsplit(self._base_url).path or '/'}"

    def of_answer(self, response: requests.Response, body: Any = None) -> NenoaError:
        """
        Translate an answer that is not 2xx into the error that says what it means.

        :param body: What was sent: the id that is not known may stand there.
        """
        status, path = response.status_code, urlsplit(response.url).path
        code, message, request_id = replies.words_of(response, self.scrub)
        is_url = code is not None and "://" in code  # the type of an RFC 9457 problem: something to look up
        words = ": ".join(part for part in (None if is_url else code, message) if part)
        retry_after = replies.retry_after_of(response)
        text = f"{self._vendor} answered {status} to {_what(response)}: {words.rstrip('.') or 'no explanation'}."
        if retry_after is not None:
            text += f"\nIt will listen again in {retry_after:g} s."
        advice = self._advice.get(code or "") or replies.advice_for(
            status, self._connection, self._address, _the_id(path, body)
        )
        where = [f"request id {request_id}" if request_id else None, code if is_url else None, self._base_url]
        return replies.kind_of(status)(
            self.scrub(f"{text}\n{advice}\n({', '.join(part for part in where if part)})"),
            http_status=status,
            code=code,
            request_id=request_id,
            retry_after=retry_after,
        )

    def undecodable(self, method: str, path: str) -> InvalidReply:
        """Return the error for a body that is not in the encoding that it says."""
        return InvalidReply(
            f"{self._vendor} answered {self.named(method, path)} with a body that cannot be decoded: it is not in the "
            f"Content-Encoding that it says.\n({self._base_url})"
        )

    def no_json(self, response: requests.Response) -> InvalidReply:
        """Return the error for a body that is no JSON."""
        said = replies.quoted(response.content[: replies.LOOKED_AT].decode("utf-8-sig", "replace"), self.scrub)
        return InvalidReply(
            f"{self._vendor} answered {response.status_code} to {_what(response)} with something that is not JSON: "
            f"{said!r}.\nCheck that {self._address} is the API's base URL.\n({self._base_url})"
        )

    def no_object(self, response: requests.Response, value: Any) -> InvalidReply:
        """Return the error for a body that is JSON, but no object."""
        return InvalidReply(
            f"{self._vendor} answered {_what(response)} with a JSON {type(value).__name__} instead of an object."
        )

    def not_there(self, response: requests.Response) -> InvalidReply:
        """Return the error for an answer that is no failure, and has not what was asked for."""
        return InvalidReply(
            f"{self._vendor} answered {response.status_code} to {_what(response)}: it has not sent what was asked "
            "for.\nTry again later; it may not be ready yet."
        )

    def no_answer(self, method: str, path: str, why: str) -> ConnectionFailed:
        """
        Return the error for a request that may be repeated, and was not answered.

        :param why: What happened, in words.
        """
        return ConnectionFailed(
            self.scrub(
                f"No answer from {self._vendor} to {self.named(method, path)}: {why}.\nCheck {self._address}, and "
                f"whether this machine can reach it.\n({self._base_url})"
            )
        )

    def outcome_unknown(self, method: str, path: str, why: str, error: NenoaError | None = None) -> StartOutcomeUnknown:
        """
        Return the error for a request that must not be repeated, and was not answered clearly.

        :param why: What happened, in words.
        :param error: What the answer would mean otherwise, if there was one.
        """
        why = self.scrub(why.rstrip("."))
        return StartOutcomeUnknown(
            self.scrub(
                f"{self._vendor} may or may not have acted on {self.named(method, path)}: {why}.\nIt was not sent "
                f"again, because that could start the same work twice.\n({self._base_url})"
            ),
            why=why,
            http_status=error.http_status if error else None,
            code=error.code if error else None,
            request_id=error.request_id if error else None,
        )


def _the_id(path: str, body: Any) -> str:
    """Say where the id stands that a 404 is about."""
    ids = body.items() if isinstance(body, Mapping) else ()
    sent = [f"{name} {value!r}" for name, value in ids if name.endswith("_id") and isinstance(value, str)]
    return " and ".join(sent) or f"the id in {path}"


def _what(response: requests.Response) -> str:
    return f"{response.request.method or '?'} {urlsplit(response.url).path}"
