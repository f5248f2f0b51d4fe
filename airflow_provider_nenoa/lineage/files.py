"""Stored files, told to whoever collects the lineage of hooks: as ``ObjectStoragePath.open`` tells of them itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

log = logging.getLogger(__name__)


def tell_of_file(path: ObjectStoragePath) -> None:
    """
    Tell that this task has written a file. Nothing is told unless Airflow has a reader of lineage.

    :param path: The file. Nothing is raised if it cannot be told of: it is stored all the same.
    """
    try:
        _collector().add_output_asset(context=path, uri=str(path))
    except Exception as error:
        log.warning("Lineage will not show that %s was stored: %s", path, error)


def files_told_of() -> list[Any]:
    """Return the files that this process has told of, as OpenLineage's datasets. Only what it calls may call this."""
    from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset

    outputs = (translate_airflow_asset(told.asset, told.context) for told in _collector().collected_assets.outputs)
    return [output for output in outputs if output is not None]


def _collector() -> Any:
    try:
        from airflow.sdk.lineage import get_hook_lineage_collector
    except ImportError:  # Airflow 3.0 and 3.1
        from airflow.lineage.hook import get_hook_lineage_collector  # type: ignore[no-redef]

    return get_hook_lineage_collector()
