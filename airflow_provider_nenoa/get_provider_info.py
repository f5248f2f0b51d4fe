"""The metadata that Airflow reads when it looks for providers. Every Airflow process imports this module."""

from __future__ import annotations

from typing import Any

_INTEGRATIONS = {"NenAI": "nenai", "OpenAnalyst": "openanalyst"}

_TIMEOUT = {
    "label": "Timeout (seconds)",
    "schema": {"type": ["integer", "null"]},
    "description": "How long to wait for an answer of the API. Default 60.",
}
_WEBHOOK_SECRET = {
    "label": "Webhook secret",
    "schema": {"type": ["string", "null"], "format": "password"},
}

_NENAI: dict[str, Any] = {
    "connection-type": "nenai",
    "hook-class-name": "airflow_provider_nenoa.hooks.nenai.NenAIHook",
    "hook-name": "NenAI",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "port"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {"host": "https://api.getnen.ai", "password": "your NenAI API key"},
    },
    "conn-fields": {
        "webhook_secret": {
            **_WEBHOOK_SECRET,
            "description": "The secret with which NenAI signs its webhooks. Needed to await runs.",
        },
        "run_status_path": {
            "label": "Run status path",
            "schema": {"type": ["string", "null"]},
            "description": "Only if NenAI gave you one: the path of a run's state, such as /runs/{message_id}.",
        },
        "private_file_hosts": {
            "label": "Private file hosts",
            "schema": {"type": ["string", "null"]},
            "description": (
                "Only if result files are kept inside your own network: the hosts that may have private addresses, "
                "separated by commas; * stands for anything."
            ),
        },
        "timeout": _TIMEOUT,
    },
}

_OPENANALYST: dict[str, Any] = {
    "connection-type": "openanalyst",
    "hook-class-name": "airflow_provider_nenoa.hooks.openanalyst.OpenAnalystHook",
    "hook-name": "OpenAnalyst",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "port"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {"host": "https://api.openanalyst.com/v1", "password": "oa_live_..."},
    },
    "conn-fields": {
        "webhook_secret": {
            **_WEBHOOK_SECRET,
            "description": "The secret with which OpenAnalyst signs its webhooks. Without it, runs are polled.",
        },
        "plan": {
            "label": "Plan",
            "schema": {
                "type": ["string", "null"],
                "enum": ["free", "basic", "pro", "max", "enterprise"],
                "default": "free",
            },
            "description": "The workspace's plan; its rate limits pace the polling.",
        },
        "requests_per_minute": {
            "label": "Requests per minute",
            "schema": {"type": ["integer", "null"]},
            "description": "Overrules the plan's limit; needed for an Enterprise plan.",
        },
        "requests_per_day": {
            "label": "Requests per day",
            "schema": {"type": ["integer", "null"]},
            "description": "Overrules the plan's limit; needed for an Enterprise plan.",
        },
        "timeout": _TIMEOUT,
    },
}

_OPENANALYST_SQL: dict[str, Any] = {
    "connection-type": "openanalyst_sql",
    "hook-class-name": "airflow_provider_nenoa.hooks.openanalyst_sql.OpenAnalystSqlHook",
    "hook-name": "OpenAnalyst SQL",
    "ui-field-behaviour": {
        "hidden-fields": ["login", "port"],
        "relabeling": {"password": "API key", "host": "Base URL", "schema": "Dataset id"},
        "placeholders": {
            "host": "https://api.openanalyst.com/v1",
            "password": "oa_live_...",
            "schema": "ds_abc123",
        },
    },
    "conn-fields": {"timeout": _TIMEOUT},
}

_CONFIG = {
    "nenoa": {
        "description": "How airflow-provider-nenoa receives the vendors' webhooks.",
        "options": {
            "webhook_base_url": {
                "description": (
                    "The public address of the webhook receiver: what NenAI and OpenAnalyst call. "
                    "Default: [api] base_url followed by /nenoa."
                ),
                "type": "string",
                "version_added": "0.1.0",
                "example": "https://airflow.example.com/nenoa",
                "default": None,
            },
            "receiver_url": {
                "description": (
                    "The address at which workers and triggerers reach the webhook receiver. Default: where Airflow's "
                    "own components reach the API server ([core] execution_api_server_url, else [api] base_url)."
                ),
                "type": "string",
                "version_added": "0.1.0",
                "example": "http://airflow-api-server:8080/nenoa",
                "default": None,
            },
            "event_store_url": {
                "description": (
                    "SQLAlchemy URL of the database that keeps received events. Default: Airflow's own database."
                ),
                "type": "string",
                "sensitive": True,
                "version_added": "0.1.0",
                "example": "postgresql+psycopg2://user:password@host/db",
                "default": None,
            },
            "event_retention_days": {
                "description": "Days after which received events are deleted.",
                "type": "float",
                "version_added": "0.1.0",
                "example": "7",
                "default": "7",
            },
        },
    }
}


def _modules(kind: str, **more: str) -> list[dict[str, Any]]:
    return [
        {
            "integration-name": name,
            "python-modules": [
                f"airflow_provider_nenoa.{kind}.{module}" for module in (own, more.get(own)) if module is not None
            ],
        }
        for name, own in _INTEGRATIONS.items()
    ]


def connection_type(conn_type: str) -> dict[str, Any]:
    """Return the metadata of one connection type."""
    return next(entry for entry in (_NENAI, _OPENANALYST, _OPENANALYST_SQL) if entry["connection-type"] == conn_type)


def get_provider_info() -> dict[str, Any]:
    """Return the metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-nenoa",
        "name": "Nenoa",
        "description": "NenAI workflows, OpenAnalyst agents and queries: told by webhook, never started twice.",
        "integrations": [
            {"integration-name": "NenAI", "external-doc-url": "https://api.getnen.ai", "tags": ["service"]},
            {
                "integration-name": "OpenAnalyst",
                "external-doc-url": "https://api.openanalyst.com/v1",
                "tags": ["service"],
            },
        ],
        "hooks": _modules("hooks", openanalyst="openanalyst_sql"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "triggers": _modules("triggers", nenai="events", openanalyst="events"),
        "connection-types": [_NENAI, _OPENANALYST, _OPENANALYST_SQL],
        "extra-links": ["airflow_provider_nenoa.links.nenai.NenAIRunLink"],
        "config": _CONFIG,
    }
