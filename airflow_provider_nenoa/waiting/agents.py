"""Give an agent a task and wait for its answer, where there is no task instance that could go on with it later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import DeadlinePassed, RunFailed, RunTimeout
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import AGENT, RunKey

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.runs import Run


def run_agent(
    hook: OpenAnalystHook, agent_id: str | None, task: str, *, timeout: float, poll_interval: float, **options: Any
) -> Run:
    """
    Start a run of an agent, and wait for its end.

    :param hook: The connection.
    :param agent_id: The agent.
    :param task: What it is asked to do, in words.
    :param timeout: Seconds in all.
    :param poll_interval: Shortest interval, in seconds, at which it is asked for.
    :param options: Those of `OpenAnalystHook.run_agent`.
    :return: The run that has succeeded, with its payload.
    :raises RunFailed: It has not.
    :raises RunTimeout: It has not ended in time.
    """
    began = time.time()
    run = hook.run_agent(agent_id, task, **options)
    if not run.status.is_end:
        key = RunKey(hook.conn_id, AGENT.name, run.run_id)
        try:
            ended = asking.wait(
                hook, key, deadline=began + timeout, poll_interval=poll_interval, started_at=began, told=False
            )
        except DeadlinePassed as passed:
            raise RunTimeout(
                f"OpenAnalyst agent run {run.run_id} has not ended within {timeout:g} s; its last status is "
                f"'{passed}'.\nIt goes on, because OpenAnalyst's API cannot cancel it."
            ) from None
        run = asking.read(hook, key, ended)
    if not run.status.is_success:
        raise RunFailed(f"OpenAnalyst agent run {run.run_id} ended in '{run.word}': {run.error or 'it gave no reason'}")
    return run
