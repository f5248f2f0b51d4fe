"""
What the vendors have, as Airflow's assets: ``openanalyst://datasets/ds_abc123/sales``, ``nenai://workflows/…``.

Airflow calls the handlers when a DAG file names such an asset, and the converter when OpenLineage tells of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_nenoa.lineage.names import namespace_of, table_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

_KINDS = {"nenai": ("workflows",), "openanalyst": ("datasets", "agents", "reports", "dashboards")}
_HOSTS = {"nenai": "https://api.getnen.ai", "openanalyst": "https://api.openanalyst.com"}


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Bring an asset's URI into its one spelling.

    ``nenai://workflows/<id>``, ``openanalyst://agents/<id>``, ``…reports/<id>``, ``…dashboards/<id>``,
    ``…datasets/<id>`` and ``…datasets/<id>/<table>``. The kind is lowercase, and so is a workflow's id, a UUID.

    :param uri: The URI, without a slash at its end.
    :return: The same, in that spelling.
    :raises ValueError: It is no such URI.
    """
    kind, ids = uri.netloc.lower(), uri.path.removeprefix("/").removesuffix("/").split("/")
    most = 2 if kind == "datasets" else 1
    if kind not in _KINDS[uri.scheme] or not all(ids) or len(ids) > most or uri.query:
        forms = " or ".join(f"{uri.scheme}://{each}/<id>" for each in _KINDS[uri.scheme])
        raise ValueError(f"No asset of {uri.scheme} has the URI {uri.geturl()!r}.\nIt must be {forms}.")
    path = "/" + "/".join(ids)
    return uri._replace(netloc=kind, path=path.lower() if uri.scheme == "nenai" else path)


def to_openlineage(asset: Any, lineage_context: Any) -> Any:
    """
    Return an asset as OpenLineage's dataset; a table has the name that queries give it.

    :param asset: The asset.
    :param lineage_context: What told of it; not needed.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    ids = uri.path.strip("/").split("/")
    name = table_name(*ids) if uri.netloc == "datasets" else f"{uri.netloc}/{ids[0]}"
    return Dataset(namespace=namespace_of(uri.scheme, _HOSTS[uri.scheme]), name=name)


def tell_outlets(context: Mapping[str, Any], outlets: Any, extra: Mapping[str, Any]) -> None:
    """
    Put something into the events of a task's outlets, which Airflow makes when the task succeeds.

    :param context: The task's context.
    :param outlets: The task's outlets; of those, assets are told, also where ``Asset.ref`` names them.
    :param extra: What to put in, beside what is there already.
    """
    from airflow.sdk import Asset
    from airflow.sdk.definitions.asset import AssetRef

    events: Any = context.get("outlet_events")
    for outlet in outlets or ():
        if isinstance(outlet, (Asset, AssetRef)) and events is not None:
            events[outlet].extra.update(extra)
