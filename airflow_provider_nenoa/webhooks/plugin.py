"""
Registers the webhook receiver with Airflow's API server.

Every Airflow process imports its plugins, and all but the API server have no use for this one: nothing is imported
here, and nothing is built, until the first request comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class LazyReceiver:
    """The receiver as an ASGI app that is built with the first request."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            from airflow_provider_nenoa.webhooks.app import mounted_app

            self._app = mounted_app()
        await self._app(scope, receive, send)


class NenoaPlugin(AirflowPlugin):
    """Mounts the receiver at ``/nenoa``."""

    name = "nenoa"
    fastapi_apps = [{"app": LazyReceiver(), "url_prefix": "/nenoa", "name": "Nenoa webhook receiver"}]
