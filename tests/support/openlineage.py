"""Whether an event keeps to OpenLineage's specification, by the classes that its own client has for it."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import attr
import jsonschema
from openlineage.client import generated

_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": {"type": "string"}, "_schemaURL": {"type": "string", "pattern": "^https://"}},
    },
}
_DATASETS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["namespace", "name"],
        "additionalProperties": False,
        "properties": {
            "namespace": {"type": "string", "minLength": 1},
            "name": {"type": "string", "minLength": 1},
            "facets": _FACETS,
            "inputFacets": _FACETS,
            "outputFacets": _FACETS,
        },
    },
}
# What the specification requires of every run event.
_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": {"type": "object", "required": ["runId"], "properties": {"facets": _FACETS}},
        "job": {"type": "object", "required": ["namespace", "name"], "properties": {"facets": _FACETS}},
        "inputs": _DATASETS,
        "outputs": _DATASETS,
    },
}


def _facet_classes() -> dict[str, type]:
    """The client's classes, by the addresses of their schemas."""
    found = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for value in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values():
            if isinstance(value, type) and hasattr(value, "_get_schema") and attr.has(value):
                found[value._get_schema()] = value
    return found


def check_event(event: dict[str, Any]) -> None:
    """
    Check a run event, as it goes over the wire.

    :param event: The event.
    :raises Exception: It is not as the specification wants it.
    """
    jsonschema.validate(event, _EVENT)
    datetime.fromisoformat(event["eventTime"])
    UUID(event["run"]["runId"])
    classes = _facet_classes()
    of_datasets = [each.get("facets") for each in (*event.get("inputs", ()), *event.get("outputs", ()))]
    for facets in (event["run"].get("facets"), event["job"].get("facets"), *of_datasets):
        for name, facet in (facets or {}).items():
            assert urlsplit(facet["_schemaURL"]).netloc, name
            kind = classes.get(facet["_schemaURL"])
            # Airflow's own says that it found nothing; it is not described by the client's classes.
            if kind is None or name.startswith(("nenoa", "airflow", "unknownSourceAttribute")):
                continue
            known = {field.name: field for field in attr.fields(kind)}
            assert set(facet) <= set(known), f"{name}: {set(facet) - set(known)}"
            required = {key for key, field in known.items() if field.default is attr.NOTHING}
            assert required <= set(facet), f"{name}: {required - set(facet)} are missing"
