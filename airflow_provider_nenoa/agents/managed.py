"""OpenAnalyst's agents for Airflow's Common AI provider: any ``AgentOperator`` can ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import (
    AirflowOptionalProviderFeatureException,
    InvalidArgument,
    InvalidRequest,
    PermanentError,
    RunFailed,
    StartOutcomeUnknown,
)

try:
    from airflow.providers.common.ai.exceptions import ManagedAgentInvocationError, ManagedAgentRejected
    from airflow.providers.common.ai.managed_agents.base import (
        BaseManagedAgentHook,
        ManagedAgentCapabilities,
        ManagedAgentRef,
        ManagedAgentResponse,
    )
except ImportError as missing:
    raise AirflowOptionalProviderFeatureException(
        "For OpenAnalyst's agents as tools, Airflow's Common AI provider is needed: "
        "pip install 'airflow-provider-nenoa[ai]'."
    ) from missing

from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.vendors.arguments import required
from airflow_provider_nenoa.vendors.openanalyst import final_answer

if TYPE_CHECKING:
    from airflow.providers.common.ai.managed_agents.base import ManagedAgentRequest

TIMEOUT = 3_600.0
POLL_INTERVAL = 5.0
OPTIONS = frozenset({"context", "dataset_ids", "model", "max_steps", "extra_body"})
"""What a request may add, by the names that `OpenAnalystHook.run_agent` has for it."""


class OpenAnalystManagedAgentHook(OpenAnalystHook, BaseManagedAgentHook):
    """
    The agents of an OpenAnalyst workspace, as Airflow's Common AI provider wants them.

    ``OpenAnalystManagedAgentHook("openanalyst_default").agent("agent_xyz789")`` is what its ``ManagedAgentToolset``
    takes. Each call is a run of its own, which is waited for in the worker within the connection's rate limit: a run
    that a lost worker leaves behind is not gone on with.

    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``.
    """

    agent_platform = "openanalyst.agents"

    def resolve_agent(self, agent: str) -> ManagedAgentRef:
        """
        Name an agent.

        :param agent: Its id.
        """
        return ManagedAgentRef(self.agent_platform, required("agent", agent))

    def get_agent_capabilities(self, agent: str) -> ManagedAgentCapabilities:
        """
        Say what an agent can do: no conversations, no typed answers; the run's id is the trace.

        :param agent: Its id.
        """
        return ManagedAgentCapabilities(trace=True)

    def invoke_agent(self, agent: str, request: ManagedAgentRequest) -> ManagedAgentResponse:
        """
        Give an agent a task, and wait for its answer.

        :param agent: Its id; not sent in the form ``server``, which has one agent only.
        :param request: The task. ``vendor_options`` may be `OPTIONS`; ``timeout`` is an hour by default.
        :return: The answer; ``raw`` is the vendor's whole payload, ``trace_ref`` the run's id.
        :raises ManagedAgentRejected: The run failed, or the vendor refused what was asked: other words may do better.
        :raises ManagedAgentInvocationError: Nothing in the words can cure it, or it is not known whether a run was
            started.
        :raises NenoaError: It may pass: Airflow's retries apply.
        """
        from airflow_provider_nenoa.waiting.agents import run_agent

        try:
            if unknown := set(request.vendor_options) - OPTIONS:
                raise InvalidArgument(
                    f"'vendor_options' may have {', '.join(sorted(OPTIONS))}; not {', '.join(sorted(unknown))}."
                )
            run = run_agent(
                self,
                required("agent", agent),
                _prompt(request),
                timeout=TIMEOUT if request.timeout is None else request.timeout,
                poll_interval=POLL_INTERVAL,
                **request.vendor_options,
            )
        except (RunFailed, InvalidRequest) as error:
            raise ManagedAgentRejected(str(error)) from error
        except (PermanentError, StartOutcomeUnknown) as error:
            raise ManagedAgentInvocationError(str(error)) from error
        answer = final_answer(run.payload)
        return ManagedAgentResponse(
            text=str(run.payload if answer is None else answer), raw=run.payload, trace_ref=run.run_id
        )


def _prompt(request: ManagedAgentRequest) -> str:
    """
    Return the task in words.

    :raises InvalidArgument: Something in the messages is no text.
    """
    if request.prompt is not None:
        return request.prompt
    texts: list[str] = []
    for message in request.as_messages():
        content: Any = message.get("content")
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise InvalidArgument("OpenAnalyst's agents take text only: a message has something else.")
            texts.append(f"{message.get('role', 'user')}: {part['text']}")
    return "\n\n".join(texts)
