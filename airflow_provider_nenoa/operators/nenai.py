"""Operators for NenAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.links.nenai import NenAIRunLink, run_url
from airflow_provider_nenoa.operators.base import RunOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context
    from requests.auth import AuthBase

    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger


class NenAIRunWorkflowOperator(RunOperator):
    """
    Run a NenAI workflow and return what it produced.

    NenAI tells the end of a run by webhook only. So the connection needs a ``webhook_secret``, and NenAI must be able
    to reach the receiver in Airflow's API server; both are checked before the run is started.

    Returns a dict: ``message_id``, ``workflow_id``, ``status`` (NenAI's word) and ``result`` (the webhook's whole
    body, with the presigned URLs of the results).

    :param workflow_id: The workflow's UUID. (templated)
    :param workflow_params: Its parameters; must be JSON. (templated)
    :param secure_workflow_params: Its secret parameters, texts only. Templates in it are rendered, but it is kept out
        of the task's rendered fields, and its values are masked in logs. NenAI wants such a request signed: see
        ``auth``.
    :param auth: A ``requests.auth.AuthBase`` that signs the start by the scheme that you set up with NenAI.
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    :param kwargs: ``deferrable``, ``wait_for_completion``, ``poll_interval``, ``timeout``, ``durable`` and
        ``on_lost_start`` of `RunOperator`, and those of every operator.
    """

    kind_name = "workflow"
    id_key = "message_id"
    template_fields: Sequence[str] = ("workflow_id", "workflow_params", "nenai_conn_id")
    template_fields_renderers = {"workflow_params": "json"}
    operator_extra_links = (NenAIRunLink(),)
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        workflow_id: str,
        workflow_params: Mapping[str, Any] | None = None,
        secure_workflow_params: Mapping[str, str] | None = None,
        auth: AuthBase | None = None,
        nenai_conn_id: str = "nenai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.workflow_params = workflow_params
        self.secure_workflow_params = secure_workflow_params
        self.auth = auth
        self.nenai_conn_id = nenai_conn_id

    @property
    def conn_id(self) -> str:
        """The Airflow connection."""
        return self.nenai_conn_id

    def make_hook(self) -> NenAIHook:
        """Make the hook for the connection."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook

        return NenAIHook(self.nenai_conn_id, auth=self.auth)

    def execute(self, context: Context) -> Any:
        """Render the secret parameters here, where nobody records them, then run."""
        from airflow_provider_nenoa.compat import mask_secret
        from airflow_provider_nenoa.hooks.nenai import text_object

        if self.secure_workflow_params:
            rendered = self.render_template(self.secure_workflow_params, context)
            self.secure_workflow_params = text_object("secure_workflow_params", rendered)
            for value in self.secure_workflow_params.values():
                mask_secret(value)
        return super().execute(context)

    def check(self) -> None:
        """Look at the arguments before anything is sent."""
        from airflow_provider_nenoa.hooks.base import json_object
        from airflow_provider_nenoa.hooks.nenai import workflow_uuid

        workflow_uuid(self.workflow_id)
        json_object("workflow_params", self.workflow_params or {})

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """Start the workflow."""
        hook: NenAIHook = self.hook  # type: ignore[assignment]
        return hook.start_run(
            self.workflow_id,
            self.workflow_params,
            secure_workflow_params=self.secure_workflow_params,
            webhook_callback=callback_url,
            before_send=before_send,
        )

    def finish(self, run: Run, context: Context) -> dict[str, Any]:
        """Return what NenAI sent."""
        return {
            "message_id": run.run_id,
            "workflow_id": self.workflow_id,
            "status": run.word,
            "result": run.payload,
        }

    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run."""
        from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

        return NenAIWorkflowRunTrigger(run_id, self.nenai_conn_id, **kwargs)

    def _the_run(self, run_id: str | None) -> str:
        return super()._the_run(run_id) + (f" ({run_url(run_id)})" if run_id else "")
