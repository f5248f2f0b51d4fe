"""A callback that tells an OpenAnalyst agent of a failure, and passes on what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk.bases.notifier import BaseNotifier

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.triggers import positive_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.sdk import Context

PROMPT = """\
{% if ti is defined and ti %}Task '{{ ti.task_id }}' of the Airflow DAG '{{ ti.dag_id }}' has failed in run \
'{{ ti.run_id }}', in attempt {{ ti.try_number }}.{% else %}The Airflow DAG '{{ dag.dag_id }}' has failed.{% endif %}
{% if exception is defined and exception %}
The error: {{ (exception | string)[:2000] }}
{% endif %}
Say in a few sentences what has probably gone wrong, and what to do about it."""


class OpenAnalystAgentNotifier(BaseNotifier):
    """
    Tell an OpenAnalyst agent that something failed; its answer goes to the log, and to another notifier.

    For ``on_failure_callback`` and the other callbacks of tasks. Airflow runs them in the task's process, which it ends
    ``[core] task_success_overtime`` (20 s) after the task has; raise that if the agent needs longer, and ``timeout``.

    The other notifier is called in any case: if there is no answer, it is told why.

    :param task_prompt: What the agent is asked, in words. Default: what failed, and the error. What Airflow masks in
        logs is masked in it, too. (templated)
    :param agent_id: The agent, as for `OpenAnalystRunAgentOperator`. (templated)
    :param then: Another notifier, or any callable that takes the context: the answer is ``agent_answer`` in it, and so
        in that notifier's templates. Default: it only goes to the log.
    :param timeout: Seconds, or a timedelta, to wait for the answer. Default: 5 less than Airflow grants.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the agent is asked for it. Default
        2.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    template_fields: Sequence[str] = ("task_prompt", "agent_id", "openanalyst_conn_id")

    def __init__(
        self,
        *,
        task_prompt: str = PROMPT,
        agent_id: str | None = None,
        then: Callable[[Context], Any] | None = None,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta = 2.0,
        openanalyst_conn_id: str = "openanalyst_default",
    ) -> None:
        super().__init__()
        if then is not None and not callable(then):
            raise InvalidArgument(f"'then' must be another notifier, or a function of the context, not {then!r}.")
        self.task_prompt = task_prompt
        self.agent_id = agent_id
        self.then = then
        self.timeout = None if timeout is None else positive_seconds("timeout", timeout)
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self.openanalyst_conn_id = openanalyst_conn_id

    def notify(self, context: Context) -> None:
        """
        Ask the agent, and pass on its answer.

        :param context: The callback's context.
        """
        try:
            answer = self._answer()
        except Exception as error:  # whatever it is: who waits for the other notifier must hear of the failure
            answer = f"No answer of the OpenAnalyst agent: {error}"
            self.log.warning("%s", answer)
        else:
            self.log.info("The OpenAnalyst agent answers: %s", answer)
        if self.then is not None:
            told: Mapping[str, Any] = {**context, "agent_answer": answer}
            self.then(told)  # type: ignore[arg-type]

    def _answer(self) -> str:
        from airflow_provider_nenoa.compat import redact
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
        from airflow_provider_nenoa.vendors.openanalyst import final_answer
        from airflow_provider_nenoa.waiting.agents import run_agent

        timeout = self.timeout
        if timeout is None:
            timeout = max(1.0, conf.getfloat("core", "task_success_overtime", fallback=20.0) - 5.0)
        hook = OpenAnalystHook(self.openanalyst_conn_id)
        hook.api.retry_for = hook.api.timeout = timeout / 2
        task = str(redact(self.task_prompt))
        run = run_agent(hook, self.agent_id, task, timeout=timeout, poll_interval=self.poll_interval)
        return str(final_answer(run.payload) or run.payload)
