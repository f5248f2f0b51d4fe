"""
What things are called in lineage: by OpenLineage's rule, a namespace that says where, and a name that says what.

A table of an OpenAnalyst dataset is ``ds_abc123.sales`` in ``openanalyst://api.openanalyst.com``.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def namespace_of(scheme: str, base_url: str) -> str:
    """
    Return the namespace of what a vendor has.

    :param scheme: ``nenai`` or ``openanalyst``.
    :param base_url: Where the vendor's API is; of that, host and port count.
    """
    return f"{scheme}://{urlsplit(base_url).netloc.rpartition('@')[2].lower()}"


def table_name(dataset_id: str, *table: str | None) -> str:
    """
    Return the name of a dataset's table.

    :param dataset_id: The dataset.
    :param table: The parts of the table's name, as a query has them; those that it leaves out are None.
    """
    return ".".join((dataset_id, *filter(None, table)))
