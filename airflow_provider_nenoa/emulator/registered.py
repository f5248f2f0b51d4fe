"""Webhooks that are registered with OpenAnalyst for events of the workspace, with or without a run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from airflow_provider_nenoa.emulator.behaviour import Behaviour
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.webhooks import Webhooks
from airflow_provider_nenoa.emulator.wire import iso


@dataclass
class Registration:
    """One webhook, as ``POST /webhooks`` registered it.

    :param secret: signs its deliveries; None: the emulator's.
    """

    id: str
    workspace: str
    url: str
    events: list[str]
    secret: str | None
    created_at: float

    def shown(self) -> dict[str, Any]:
        """Without the secret."""
        return {"id": self.id, "url": self.url, "events": self.events, "created_at": iso(self.created_at)}


class Registered:
    """The registered webhooks of all workspaces."""

    def __init__(self, state: State, webhooks: Webhooks) -> None:
        self._state = state
        self._webhooks = webhooks

    def add(self, workspace: str, url: str, events: list[str], secret: str | None) -> Registration:
        """Register one."""
        hook = Registration(f"wh_{uuid.uuid4().hex[:12]}", workspace, url, events, secret, self._state.clock.time())
        self._state.registered[hook.id] = hook
        return hook

    def of(self, workspace: str) -> list[Registration]:
        """Those of a workspace."""
        return [hook for hook in self._state.registered.values() if hook.workspace == workspace]

    def remove(self, workspace: str, webhook_id: str) -> bool:
        """Forget one.

        :return: whether there was one.
        """
        if all(hook.id != webhook_id for hook in self.of(workspace)):
            return False
        del self._state.registered[webhook_id]
        return True

    def tell(self, event: str, fields: dict[str, Any], workspace: str | None = None) -> int:
        """Send an event to all who asked for it.

        :param fields: go under ``data``.
        :param workspace: whose webhooks; None: everybody's.
        :return: how many were sent.
        """
        hooks = [
            hook
            for hook in self._state.registered.values()
            if workspace in (None, hook.workspace) and event in hook.events
        ]
        for hook in hooks:
            self.send(event, {"data": fields}, hook.url, hook.secret)
        return len(hooks)

    def send(self, event: str, fields: dict[str, Any], url: str, secret: str | None = None) -> None:
        """Send an event to one place."""
        now = self._state.clock.time()
        behaviour = Behaviour()
        letter = Run(f"evt_{uuid.uuid4().hex[:12]}", "agent", behaviour, {}, now, webhook_url=url, secret=secret)
        self._webhooks.send(letter, event, {"event": event, "created_at": iso(now), **fields})
