"""The metadata that Airflow reads when it looks for providers. Every Airflow process imports this module."""

from __future__ import annotations

from typing import Any

_DOCS = "https://airflow-provider-nenoa.readthedocs.io"
_INTEGRATIONS = {"NenAI": "nenai", "OpenAnalyst": "openanalyst"}

_TIMEOUT = {
    "label": "Timeout (seconds)",
    "schema": {"type": ["integer", "null"]},
    "description": "How long to wait for an answer of the API. Default 60.",
}
# Airflow 3.3 refuses to test a stored connection without a port: its form sends 0 for none, and none is not 0.
_PORT = "443: Airflow's Test button needs it"
_WEBHOOK_SECRET = {
    "label": "Webhook secret",
    "schema": {"type": ["string", "null"], "format": "password"},
}
_WEBHOOK_SECRET_PREVIOUS = {
    "label": "Previous webhook secret",
    "schema": {"type": ["string", "null"], "format": "password"},
    "description": "Only while the webhook secret is being changed: the one before, which is accepted too.",
}

_PRIVATE_FILE_HOSTS = {
    "label": "Private file hosts",
    "schema": {"type": ["string", "null"]},
    "description": (
        "Only if result files are kept inside your own network: the hosts that may have private addresses, "
        "separated by commas; * stands for anything."
    ),
}
_API_FORM = {
    "label": "API form",
    "schema": {"type": ["string", "null"], "enum": ["api", "server"], "default": "api"},
    "description": "Which of OpenAnalyst's two references the workspace speaks: API or Server API.",
}

_NENAI: dict[str, Any] = {
    "connection-type": "nenai",
    "hook-class-name": "airflow_provider_nenoa.hooks.nenai.NenAIHook",
    "hook-name": "NenAI",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {
            "host": "https://api.getnen.ai",
            "password": "your NenAI API key",
            "port": _PORT,
            "mcp_url": "https://mcp.getnen.ai/v1",
        },
    },
    "conn-fields": {
        "webhook_secret": {
            **_WEBHOOK_SECRET,
            "description": (
                "The secret with which NenAI signs its webhooks. Without it, only an MCP URL, or a run status path "
                "tells of runs."
            ),
        },
        "mcp_url": {
            "label": "MCP URL",
            "schema": {"type": ["string", "null"]},
            "description": (
                "The address of NenAI's MCP server, https://mcp.getnen.ai/v1: it is asked about runs, so that no "
                "public address is needed. Empty: it is not used."
            ),
        },
        "webhook_secret_previous": _WEBHOOK_SECRET_PREVIOUS,
        "run_status_path": {
            "label": "Run status path",
            "schema": {"type": ["string", "null"]},
            "description": "Only if NenAI gave you one: the path of a run's state, such as /runs/{message_id}.",
        },
        "private_file_hosts": _PRIVATE_FILE_HOSTS,
        "timeout": _TIMEOUT,
    },
}

_OPENANALYST: dict[str, Any] = {
    "connection-type": "openanalyst",
    "hook-class-name": "airflow_provider_nenoa.hooks.openanalyst.OpenAnalystHook",
    "hook-name": "OpenAnalyst",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {"host": "https://api.openanalyst.com/v1", "password": "oa_live_...", "port": _PORT},
    },
    "conn-fields": {
        "webhook_secret": {
            **_WEBHOOK_SECRET,
            "description": "The secret with which OpenAnalyst signs its webhooks. Without it, runs are polled.",
        },
        "webhook_secret_previous": _WEBHOOK_SECRET_PREVIOUS,
        "api_form": _API_FORM,
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
        "private_file_hosts": _PRIVATE_FILE_HOSTS,
        "timeout": _TIMEOUT,
    },
}

_OPENANALYST_SQL: dict[str, Any] = {
    "connection-type": "openanalyst_sql",
    "hook-class-name": "airflow_provider_nenoa.hooks.openanalyst_sql.OpenAnalystSqlHook",
    "hook-name": "OpenAnalyst SQL",
    "ui-field-behaviour": {
        "hidden-fields": ["login"],
        "relabeling": {"password": "API key", "host": "Base URL", "schema": "Dataset id"},
        "placeholders": {
            "host": "https://api.openanalyst.com/v1",
            "password": "oa_live_...",
            "schema": "ds_abc123",
            "port": _PORT,
        },
    },
    "conn-fields": {"api_form": _API_FORM, "timeout": _TIMEOUT},
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
            {
                "integration-name": name,
                "external-doc-url": url,
                "how-to-guide": [f"{_DOCS}/page/{page}.html" for page in pages],
                "logo": "airflow_provider_nenoa/logo.svg",
                "tags": ["service"],
            }
            for name, url, pages in (
                (
                    "NenAI",
                    "https://docs.getnen.ai/api-reference/introduction",
                    ("connections", "nenai-workflows", "files", "webhooks", "taskflow"),
                ),
                (
                    "OpenAnalyst",
                    "https://www.openanalyst.com/docs/api",
                    ("connections", "openanalyst-agents", "openanalyst-queries", "openanalyst", "sql", "taskflow"),
                ),
            )
        ],
        "hooks": _modules("hooks", openanalyst="openanalyst_sql"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "task-decorators": [
            {"name": name, "class-name": f"airflow_provider_nenoa.decorators.{name.partition('_')[0]}.{name}_task"}
            for name in ("nenai_workflow", "openanalyst_agent", "openanalyst_query")
        ],
        "triggers": _modules("triggers", nenai="events", openanalyst="events"),
        "notifications": ["airflow_provider_nenoa.notifications.agent.OpenAnalystAgentNotifier"],
        "connection-types": [_NENAI, _OPENANALYST, _OPENANALYST_SQL],
        "extra-links": ["airflow_provider_nenoa.links.nenai.NenAIRunLink"],
        "db-managers": ["airflow_provider_nenoa.webhooks.db_manager.NenoaDBManager"],
        "asset-uris": [
            {
                "schemes": ["nenai", "openanalyst"],
                "handler": "airflow_provider_nenoa.lineage.assets.sanitize_uri",
                "to_openlineage_converter": "airflow_provider_nenoa.lineage.assets.to_openlineage",
            }
        ],
        "config": _CONFIG,
    }
