"""The webhook secrets of a connection, read in one way by who starts runs and by who receives their webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_nenoa.vendors.settings import text_setting

FIELD = "webhook_secret"
"""The extra field with the secret with which the vendor signs."""
PREVIOUS_FIELD = "webhook_secret_previous"
"""The extra field with the secret before, while it is being changed."""


def webhook_secrets(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Return the secrets of a connection: the present one, then the one before, if there is one.

    :param extra: The connection's extra fields.
    :return: None at all where there is no present one.
    """
    secrets = [secret for name in (FIELD, PREVIOUS_FIELD) if (secret := _text(extra, name))]
    return tuple(dict.fromkeys(secrets)) if _text(extra, FIELD) else ()


def _text(extra: Mapping[str, Any], name: str) -> str:
    try:
        return text_setting(extra, name)
    except TypeError:
        return ""
