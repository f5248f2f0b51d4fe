"""What older versions of Airflow lack: the only reasons for which a test may be left out on one of them."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable
from dataclasses import dataclass

from airflow import __version__

SUPPORTED = ("3.0", "3.1", "3.2", "3.3")
VERSION = ".".join(__version__.split(".")[:2])
"""The minor version that is installed."""


def _has(module: str, path: str = "") -> bool:
    """Whether a module is there, and an attribute by its path in it."""
    try:
        operator.attrgetter(path or "__name__")(importlib.import_module(module))
    except (ImportError, AttributeError):
        return False
    return True


@dataclass(frozen=True)
class Feature:
    """
    Something that not every version has.

    :param what: What a user has of it.
    :param since: The first minor version of Airflow with it.
    :param before: What there is instead.
    :param is_here: Whether the installed Airflow has it, found by looking; None: that cannot be seen.
    """

    what: str
    since: str
    before: str
    is_here: Callable[[], bool] | None


FEATURES = {
    "retried_kills": Feature(
        "A task whose process was killed is tried again",
        "3.1",
        "it has failed until somebody clears it, and then goes on with its run",
        None,
    ),
    "resumed_tests": Feature(
        "`airflow tasks test` goes on with a deferrable task after its trigger",
        "3.1",
        "it ends there; `dag.test()` goes on",
        None,
    ),
    "outputs_of_none": Feature(
        "`multiple_outputs=True` where a value of the result is None",
        "3.1",
        "the task fails with *Remote server returned validation error*, whatever its operator",
        None,
    ),
    "page_in_airflow": Feature(
        "The [page](page.md) in the menu of Airflow's user interface",
        "3.1",
        "its address is `/nenoa/page/`, below Airflow's; it is light or dark as the system is",
        lambda: _has("airflow.plugins_manager", "AirflowPlugin.external_views"),
    ),
    "test_button": Feature(
        "The button *Test Connection*",
        "3.1",
        "`airflow connections test`, on the command line",
        None,
    ),
    "db_manager_command": Feature(
        "`airflow db-manager`, to go back to an [older version](upgrading.md)",
        "3.1",
        "there is no such command",
        lambda: _has("airflow.cli.commands.db_manager_command"),
    ),
    "db_managers": Feature(
        "`airflow db migrate` finds the [event tables](upgrading.md) by itself",
        "3.2",
        "if `[database] external_db_managers` names the manager; otherwise the receiver makes them",
        lambda: _has("airflow.providers_manager", "ProvidersManager.db_managers"),
    ),
    "forms_by_metadata": Feature(
        "Airflow reads the connections' forms from the provider's metadata",
        "3.2",
        "it asks the hooks, for the same fields, if wtforms is installed: `pip install wtforms` (the FAB provider "
        "brings it)",
        lambda: _has("airflow.providers_manager", "ProvidersManager._load_ui_metadata"),
    ),
    "masked_fields": Feature(
        "A connection's form hides a `webhook_secret` while it is typed",
        "3.3",
        "it is seen while it is typed, and hidden when the form is opened again",
        None,
    ),
    "task_state": Feature(
        "The note of a task's open run is in its [state](durability.md)",
        "3.3",
        "it is in a Variable",
        lambda: _has("airflow.sdk.execution_time.comms", "GetTaskStateStore"),
    ),
    "retry_policy": Feature(
        "[`RetryAfterPolicy`](retries.md)",
        "3.3",
        "its import raises `AirflowOptionalProviderFeatureException`",
        lambda: _has("airflow.sdk.definitions.retry_policy"),
    ),
    "start_from_trigger": Feature(
        "Sensors that no worker begins: [`start_from_trigger`](waiting.md)",
        "3.3",
        "a worker begins them",
        lambda: _has("airflow.triggers.base", "BaseTrigger.render_template_fields"),
    ),
    "shared_streams": Feature(
        "Watchers of a connection's [events](events.md) share one stream and keep their place in it",
        "3.3",
        "each has one of its own; what comes while no triggerer runs is not fired for",
        lambda: _has("airflow.triggers.shared_stream"),
    ),
    "common_ai": Feature(
        "OpenAnalyst's agents as [tools of an Airflow agent](agents-as-tools.md)",
        "3.3",
        "the Common AI provider fits no older Airflow",
        lambda: _has("airflow.providers.common.ai.managed_agents.base"),
    ),
}


def has(name: str, version: str = VERSION) -> bool:
    """Whether a version has a feature."""
    return SUPPORTED.index(version) >= SUPPORTED.index(FEATURES[name].since)


def reason(name: str) -> str:
    """Return why a test is left out."""
    return f"{name}: Airflow {FEATURES[name].since} and newer"


def table() -> str:
    """Return what each version lacks, as the documentation shows it."""
    lines = ["| | since Airflow | before |", "|---|---|---|"]
    lines += [f"| {each.what} | {each.since} | {each.before} |" for each in FEATURES.values()]
    return "\n".join(lines)
