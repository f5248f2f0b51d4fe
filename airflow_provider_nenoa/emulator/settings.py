"""What can be set: for the whole emulator, and for a single run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Requests per minute and per day of each plan (OpenAnalyst docs: "Rate Limits"). Unlimited stands for Enterprise.
PLANS: dict[str, tuple[int | None, int | None]] = {
    "free": (30, 500),
    "basic": (120, 5_000),
    "pro": (600, 50_000),
    "max": (1_200, 200_000),
    "unlimited": (None, None),
}


class Strict(BaseModel):
    """A model in which a misspelt name is an error and not silently nothing."""

    model_config = ConfigDict(extra="forbid")


class ResultFile(Strict):
    """A file that a workflow run leaves behind its presigned URL.

    :param name: the file's name.
    :param size: its size in bytes, filled with bytes that depend on the name alone.
    :param content: text to serve instead; ``size`` is then ignored.
    """

    name: str
    size: int = Field(default=1024, ge=0)
    content: str | None = None


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

    :param seconds: how long it takes; None: until it is ended through the control API.
    :param outcome: ``success``, ``failed``, or any other status word, which is then what the vendor reports.
    :param error: the vendor's words when it did not succeed.
    :param result: fields that are added to (or replace those of) the result.
    :param files: result files of a workflow run; None: one ``result.json``.
    :param webhooks: how its webhooks go wrong.
    """

    seconds: float | None = Field(default=1.0, ge=0)
    outcome: str = "success"
    error: str | None = None
    result: dict[str, Any] | None = None
    files: list[ResultFile] | None = None
    webhooks: WebhookFault | None = None

    def overruled(self, wish: Any) -> Behaviour:
        """This behaviour with the fields of ``wish`` (a dict) put over it.

        :raises pydantic.ValidationError: if a field is unknown or has a wrong value.
        """
        if wish is None:
            return self
        given = Behaviour.model_validate(wish)
        return self.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


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
    :param pagination: form of the list replies: ``page``; ``cursor``; or ``repeat``, a broken server that answers
        every page with the first one and always promises more.
    :param datasets: how many data sets the workspace has.
    :param reports: how many reports.
    :param dashboards: how many dashboards.
    :param run_status_path: whether NenAI answers ``GET /runs/{message_id}``.
    :param secure_params_header: a request with this header counts as HMAC-signed and may carry
        ``secure_workflow_params``. The real scheme is not public.
    :param url_seconds: how long presigned URLs are valid.
    :param public_url: base of the presigned URLs; None: the address under which the run was started.
    :param signature_prefix: what stands before the hex digits in ``X-OpenAnalyst-Signature``; undocumented.
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

    pagination: Literal["page", "cursor", "repeat"] = "page"
    datasets: int = Field(default=3, ge=0)
    reports: int = Field(default=4, ge=0)
    dashboards: int = Field(default=2, ge=0)

    run_status_path: bool = False
    secure_params_header: str | None = None
    url_seconds: float = 3600
    public_url: str | None = None

    signature_prefix: Literal["", "sha256="] = ""
    openanalyst_retries: int = Field(default=5, ge=0)
    nenai_retries: int = Field(default=0, ge=0)
    retry_base_seconds: float = Field(default=1.0, ge=0)
    openanalyst_webhook_timeout: float = Field(default=10.0, gt=0)
    nenai_webhook_timeout: float = Field(default=5.0, gt=0)

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
