"""How a single run goes: its end, its files, its webhooks, and all that can go wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: Which of NenAI's pages a webhook looks like: 1, with ids and a status word; 2, ``success``, ``result`` and ``assets``
#: alone; or both in one body.
WebhookForm = Literal["1", "2", "mixed"]


_BLOCK = 64 * 1024


class Strict(BaseModel):
    """A model in which a misspelt name is an error and not silently nothing."""

    model_config = ConfigDict(extra="forbid")


def form_name(value: Any) -> Any:
    """``1`` and ``2`` are names of forms as well as ``"1"`` and ``"2"``."""
    return str(value) if type(value) is int else value


class ResultFile(Strict):
    """A file that a workflow run leaves behind.

    :param name: the file's name.
    :param size: its size in bytes, filled with bytes that depend on the name alone.
    :param content: text to serve instead; ``size`` is then ignored.
    """

    name: str
    size: int = Field(default=1024, ge=0)
    content: str | None = None

    @property
    def length(self) -> int:
        """Size in bytes."""
        return self.size if self.content is None else len(self.content.encode())

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``start`` to ``end`` (exclusive), in blocks.

        No two blocks are alike, so that a reader who goes on at a wrong place is found out.
        """
        if self.content is not None:
            yield self.content.encode()[start:end]
            return
        seed = hashlib.sha256(self.name.encode()).digest()
        while start < end:
            number, offset = divmod(start, _BLOCK)
            block = hashlib.shake_128(seed + number.to_bytes(8, "big")).digest(_BLOCK)
            piece = block[offset : min(_BLOCK, offset + end - start)]
            yield piece
            start += len(piece)


class WebhookFault(Strict):
    """How the webhooks of a run go wrong.

    :param times: for how many runs, when queued by the control API; None: for all until the next reset.
    :param vendor: only for runs of this vendor.
    :param status: only for webhooks with this status word, for example ``processing``.
    :param duplicate: how many more times each webhook is sent.
    :param reorder: NenAI's ``processing`` is sent after the end.
    :param late: each webhook is held back by so many seconds.
    :param lose: webhooks are never sent.
    :param bad_signature: signed with another secret.
    :param before_reply: the run ends at once; its webhooks are sent and answered before the start's reply goes out.
    """

    times: int | None = Field(default=1, ge=1)
    vendor: Literal["nenai", "openanalyst"] | None = None
    status: str | None = None
    duplicate: int = Field(default=0, ge=0)
    reorder: bool = False
    late: float = Field(default=0, ge=0)
    lose: bool = False
    bad_signature: bool = False
    before_reply: bool = False

    def concerns(self, status: str) -> bool:
        return self.status is None or self.status == status


class Behaviour(Strict):
    """How a run goes. A kind of run has a default; ``{"emulate": {...}}`` in a run's own input overrules it.

    :param queued: how many seconds it waits until it is executed, and NenAI's ``processing`` is sent; None: until it is
        begun through the control API.
    :param seconds: how long it is executed; None: until it is ended through the control API.
    :param outcome: ``success``, ``failed``, or any other status word, which is then what the vendor reports.
    :param error: the vendor's words when it did not succeed.
    :param result: fields that are added to (or replace those of) the result.
    :param progress: status words that are reported one after the other before the end, for example one that nobody
        has documented; NenAI sends a webhook for each.
    :param log: lines that are added to the log of a workflow run, which the tool ``nen_get_run_logs`` shows.
    :param extra: fields that are added to the top of each webhook's body.
    :param odd_numbers: whether the result has numbers that JSON or a float does not have: NaN, Infinity, 1e999.
    :param files: result files of a workflow run; None: one ``result.json``.
    :param files_as: ``zip``: a webhook's ``assets`` is one presigned URL of a zip with all files, as NenAI documents
        it; ``urls``: a presigned URL for each file, in ``results.files``.
    :param links: how many links stand in a workflow's ``result``. They are data, never to be fetched: requests to
        them are counted as ``GET /links/{message_id}/{number}``.
    :param webhook_form: of a workflow's last webhook; None: as the emulator's setting says.
    :param announce: whether a workflow's ``processing`` webhook (always form 1: form 2 has no words for it) is sent.
    :param spelling: ``snake``: ``message_id`` and ``workflow_id`` in a workflow's webhooks; ``camel``: ``messageId``
        and ``workflowId``.
    :param webhooks: how its webhooks go wrong.
    """

    queued: float | None = Field(default=0, ge=0)
    seconds: float | None = Field(default=1.0, ge=0)
    outcome: str = "success"
    error: str | None = None
    result: dict[str, Any] | None = None
    progress: list[str] = []
    log: list[str] = []
    extra: dict[str, Any] = {}
    odd_numbers: bool = False
    files: list[ResultFile] | None = None
    files_as: Literal["zip", "urls"] = "zip"
    links: int = Field(default=2, ge=0, le=100)
    webhook_form: WebhookForm | None = None
    announce: bool = True
    spelling: Literal["snake", "camel"] = "snake"
    webhooks: WebhookFault | None = None

    @field_validator("webhook_form", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return form_name(value)

    def overruled(self, wish: Any) -> Behaviour:
        """This behaviour with the fields of ``wish`` (a dict) put over it.

        :raises pydantic.ValidationError: if a field is unknown or has a wrong value.
        """
        if wish is None:
            return self
        given = Behaviour.model_validate(wish)
        return self.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})
