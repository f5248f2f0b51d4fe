"""What NenAI's operators share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.runs import Run

    class OfWorkflow(Protocol):
        """An operator that is about one workflow, by its id or its name."""

        workflow_id: str | None
        workflow_name: str | None


MAX_FILES = 1_000
MAX_FILE_SIZE = 10 * 1024**3


def workflow_of(operator: OfWorkflow, hook: NenAIHook) -> str:
    """Return the id of an operator's workflow; its name is looked up."""
    if operator.workflow_name is not None:
        return hook.workflow_id_of(operator.workflow_name)
    return operator.workflow_id or ""


def check_files_known(run: Run) -> None:
    """
    Check that what is known of a run would name its files.

    :raises DownloadFailed: It would not: only NenAI's MCP server has told of the run's end.
    """
    if not run.has_result:
        from airflow_provider_nenoa.exceptions import DownloadFailed

        raise DownloadFailed(
            f"NenAI workflow run {run.run_id} has ended with '{run.word}', but only NenAI's MCP server has told so, "
            "which tells no files.\nIf its webhook is still to come, try again later: the run is not started anew. "
            "Otherwise let webhooks reach the receiver, or name a 'run_status_path' in the connection."
        )


def checked_files(files: str | Sequence[str]) -> str | Sequence[str]:
    """Look at the argument ``files`` when the DAG is parsed; it is no template."""
    if files == ():
        return files
    from airflow_provider_nenoa.vendors.key_paths import parse_key_paths

    return tuple(path.text for path in parse_key_paths(files))
