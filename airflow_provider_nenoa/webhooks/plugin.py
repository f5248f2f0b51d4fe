"""
Registers the webhook receiver with Airflow's API server, and its page with the user interface; gets the triggerer ready
to read connections.

Every Airflow process imports its plugins, and all but the API server have no use for this one: nothing is imported
here, and nothing is built, until the first request comes.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class LazyReceiver:
    """The receiver as an ASGI app that is built with the first request."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None
        self._building: asyncio.Future[Callable[..., Awaitable[None]]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            # In a thread: it takes seconds, for which Airflow's other requests must not wait.
            if self._building is None or (self._building.done() and self._building.exception()):
                self._building = asyncio.get_running_loop().run_in_executor(None, _build)
            self._app = await asyncio.shield(self._building)
        await self._app(scope, receive, send)


def _build() -> Callable[..., Awaitable[None]]:
    from airflow_provider_nenoa.webhooks.app import mounted_app

    return mounted_app()


class Listener:
    """
    Hears that a triggerer starts.

    Only that process has it: where anything listens, Airflow refuses every DAG with a task that a trigger may end
    (``end_from_trigger``), be it whose it may.
    """

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """
        Have a triggerer build early, in a thread, what it needs for the first connection that a trigger reads.

        Otherwise it builds that in its main loop when the first task has been deferred: for 10 to 40 s it then runs no
        trigger and sends no heartbeat, and says that its event loop "appears deadlocked".
        """
        from airflow_provider_nenoa import airflow_internals

        threading.Thread(target=airflow_internals.build_in_process_api, name="nenoa-warm-up", daemon=True).start()


class NenoaPlugin(AirflowPlugin):
    """Mounts the receiver at ``/nenoa``, puts its page into the menu, and listens in the triggerer."""

    name = "nenoa"
    fastapi_apps = [{"app": LazyReceiver(), "url_prefix": "/nenoa", "name": "Nenoa webhook receiver"}]
    listeners = [Listener()] if sys.argv[1:2] == ["triggerer"] else []
    # Relative, so that it holds below the path of [api] base_url too. Airflow 3.0 does not know of it, and with a menu
    # item of the older kind, its API server starts only where the FAB provider is installed.
    external_views = [{"name": "Nenoa", "href": "nenoa/page/", "url_route": "nenoa", "category": "browse"}]
