"""What can be set for the whole emulator."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from airflow_provider_nenoa.emulator.behaviour import Behaviour, Strict, WebhookForm, form_name
from airflow_provider_nenoa.emulator.openanalyst_errors import ErrorForm
from airflow_provider_nenoa.emulator.signing import SignatureForm

#: Requests per minute and per day of each plan (OpenAnalyst docs: "Rate Limits"). Unlimited stands for Enterprise.
PLANS: dict[str, tuple[int | None, int | None]] = {
    "free": (30, 500),
    "basic": (120, 5_000),
    "pro": (600, 50_000),
    "max": (1_200, 200_000),
    "unlimited": (None, None),
}


class Workflow(Strict):
    """A workflow as NenAI lists it. Two may have the same name."""

    id: str
    name: str


class Settings(Strict):
    """All settings, with the defaults of a server that was just started.

    :param openanalyst_key: the one accepted key; None: any that begins with ``oa_live_`` or ``oa_test_``.
    :param nenai_key: the one accepted key; None: any.
    :param openanalyst_webhook_secret: signs OpenAnalyst's webhooks.
    :param nenai_webhook_secret: signs NenAI's webhooks.
    :param plan: whose limits hold for each OpenAnalyst workspace.
    :param requests_per_minute: instead of the plan's number.
    :param requests_per_day: instead of the plan's number.
    :param window: ``fixed`` windows, or the stricter ``sliding`` ones: never more in *any* 60 seconds or 24 hours.
    :param rate_headers: whether replies carry ``X-RateLimit-*``.
    :param agent: default behaviour of agent runs.
    :param workflow: default behaviour of workflow runs.
    :param query: default behaviour of queries; with 0 seconds the reply to ``POST /queries`` has the rows.
    :param export: default behaviour of exports.
    :param pagination: form of the list replies: ``page``; ``cursor``; ``gaps``: cursors, with an empty page that
        promises more before each page but the first; or a broken server that always promises more: ``repeat`` answers
        every page with the first one, ``endless`` every cursor with an empty page.
    :param datasets: how many data sets the workspace has.
    :param reports: how many reports.
    :param dashboards: how many dashboards.
    :param webhook_form: form of NenAI's last webhook, unless a run says otherwise: 1, 2 or ``mixed``
        (see :class:`airflow_provider_nenoa.emulator.behaviour.Behaviour`).
    :param workflows: what the tool ``nen_list_workflows`` lists. A workflow that is not in it can be run all the same.
    :param mcp_reply: how the MCP server answers: with a stream of events (``sse``), or in ``json``.
    :param mcp_structured: whether the answer of a tool is there as ``structuredContent`` too.
    :param mcp_sessions: whether the MCP server gives out, and asks for, an ``Mcp-Session-Id``.
    :param mcp_session_seconds: how long a session is known; None: until it is ended.
    :param mcp_list_seconds: how old a run must be until ``nen_list_runs`` lists it.
    :param run_status_path: whether NenAI answers ``GET /runs/{message_id}``.
    :param secure_params_header: a request with this header counts as HMAC-signed and may carry
        ``secure_workflow_params``. The real scheme is not public.
    :param url_seconds: how long presigned URLs are valid.
    :param public_url: base of the presigned URLs; None: the address under which the run was started.
    :param api_form: which of OpenAnalyst's two references the workspace speaks: ``api``, ``server``, or ``both``.
    :param agents: the ids of the agents; any other is answered with 404. None: every id is one.
    :param error_form: how OpenAnalyst writes errors: ``api``, ``server``, ``detail``, ``errors`` or ``problem``.
    :param rows_as: the rows of a query are ``objects``, or ``lists`` beside the ``columns``.
    :param signature: how ``X-OpenAnalyst-Signature`` is written, which no page tells: ``hex``, ``prefixed``
        (``sha256=``), ``upper``, ``base64``, ``base64url``, or ``stripe`` (``t=...,v1=...``).
    :param webhook_id: the field of OpenAnalyst's webhooks that names the run.
    :param webhook_envelope: the field that the body of OpenAnalyst's webhooks is in; None: it is at the top.
    :param other_query_ids: whether a query's webhook carries another id than the query's.
    :param openanalyst_retries: how often a failed delivery is tried again (OpenAnalyst docs: "up to 5 times").
    :param nenai_retries: the same for NenAI, which documents none.
    :param retry_base_seconds: wait before the first retry; doubles each time.
    :param openanalyst_webhook_timeout: seconds a receiver has to answer (OpenAnalyst docs: 10).
    :param nenai_webhook_timeout: seconds a receiver has to answer (NenAI docs: 5).
    """

    openanalyst_key: str | None = None
    nenai_key: str | None = None
    openanalyst_webhook_secret: str = "openanalyst-emulator-secret"  # noqa: S105
    nenai_webhook_secret: str = "nenai-emulator-secret"  # noqa: S105

    plan: Literal["free", "basic", "pro", "max", "unlimited"] = "pro"
    requests_per_minute: int | None = Field(default=None, ge=1)
    requests_per_day: int | None = Field(default=None, ge=1)
    window: Literal["fixed", "sliding"] = "fixed"
    rate_headers: bool = True

    agent: Behaviour = Behaviour()
    workflow: Behaviour = Behaviour()
    query: Behaviour = Behaviour(seconds=0)
    export: Behaviour = Behaviour()

    pagination: Literal["page", "cursor", "repeat", "gaps", "endless"] = "page"
    datasets: int = Field(default=3, ge=0)
    reports: int = Field(default=4, ge=0)
    dashboards: int = Field(default=2, ge=0)

    webhook_form: WebhookForm = "1"
    workflows: list[Workflow] = [Workflow(id="6f9619ff-8b86-4d01-b42d-00cf4fc964ff", name="Fetch invoices")]
    mcp_reply: Literal["sse", "json"] = "sse"
    mcp_structured: bool = False
    mcp_sessions: bool = True
    mcp_session_seconds: float | None = Field(default=None, ge=0)
    mcp_list_seconds: float = Field(default=0, ge=0)
    run_status_path: bool = False
    secure_params_header: str | None = None
    url_seconds: float = 3600
    public_url: str | None = None

    api_form: Literal["both", "api", "server"] = "both"
    agents: list[str] | None = None
    error_form: ErrorForm = "api"
    rows_as: Literal["objects", "lists"] = "objects"
    signature: SignatureForm = "hex"
    webhook_id: Literal["run_id", "query_id", "id", "session_id"] = "run_id"
    webhook_envelope: Literal["data", "result", "run"] | None = None
    other_query_ids: bool = False
    openanalyst_retries: int = Field(default=5, ge=0)
    nenai_retries: int = Field(default=0, ge=0)
    retry_base_seconds: float = Field(default=1.0, ge=0)
    openanalyst_webhook_timeout: float = Field(default=10.0, gt=0)
    nenai_webhook_timeout: float = Field(default=5.0, gt=0)

    @field_validator("webhook_form", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return form_name(value)

    def limits(self) -> tuple[int | None, int | None]:
        """Requests per minute and per day; None: no limit."""
        per_minute, per_day = PLANS[self.plan]
        return self.requests_per_minute or per_minute, self.requests_per_day or per_day

    def patched(self, patch: dict[str, Any]) -> Settings:
        """These settings with ``patch`` put over them; a behaviour is patched field by field.

        :raises pydantic.ValidationError: if a name is unknown or a value is wrong.
        """
        merged = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in patch.items():
            old = merged.get(name)
            merged[name] = old.overruled(value) if isinstance(old, Behaviour) else value
        return Settings.model_validate(merged)
