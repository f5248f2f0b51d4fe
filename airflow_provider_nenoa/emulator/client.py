"""The control API from Python."""

from __future__ import annotations

from typing import Any

import requests


class ControlError(Exception):
    """The emulator refused what was asked; the message says why."""


class Control:
    """Ask an emulator what it saw, and tell it what to do.

    :param url: the emulator's, for example ``http://127.0.0.1:8090``.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/_control"
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        reply = self._session.request(method, self._url + path, json=body, timeout=30)
        if not reply.ok:
            raise ControlError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json()

    def health(self) -> None:
        """Return when the emulator answers.

        :raises requests.ConnectionError: if it does not.
        """
        self._call("GET", "/health")

    def requests(self) -> list[dict[str, Any]]:
        """All that the vendors received, oldest first: ``method``, ``path``, ``query``, ``route``, ``vendor``, ``key``
        (masked), ``headers``, ``body``, ``time``, ``status`` (None: dropped) and ``fault`` if it met one."""
        return list(self._call("GET", "/requests"))

    def counts(self) -> dict[str, Any]:
        """How often each route was asked (``{"POST /v1/agents/run": 3, ...}``), and ``runs_started`` by kind
        (``agent``, ``workflow``, ``query``)."""
        return dict(self._call("GET", "/counts"))

    def deliveries(self) -> list[dict[str, Any]]:
        """All webhooks, one entry per attempt: ``run_id``, ``kind``, ``status``, ``url``, ``attempt``, ``outcome``
        (``delivered``, ``refused``, ``lost``, or the name of the error), ``code``, ``time``, ``seconds``."""
        return list(self._call("GET", "/deliveries"))

    def runs(self) -> list[dict[str, Any]]:
        """All runs: ``id``, ``kind``, ``status``, ``phase`` (``queued``, ``started`` or ``running``), ``ended``."""
        return list(self._call("GET", "/runs"))

    def begin(self, run_id: str) -> None:
        """Let a run leave the queue now.

        :raises ControlError: if there is no such run, or it has begun.
        """
        self._call("POST", f"/runs/{run_id}/begin")

    def finish(self, run_id: str, **behaviour: Any) -> None:
        """End a run now.

        :param behaviour: ``outcome``, ``error``, ``result``, ``files``, ``webhooks`` as in
            :class:`airflow_provider_nenoa.emulator.behaviour.Behaviour`.
        :raises ControlError: if there is no such run, or it has ended.
        """
        self._call("POST", f"/runs/{run_id}/finish", behaviour)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings (see :class:`airflow_provider_nenoa.emulator.settings.Settings`); all of them come back,
        except secrets. ``settings(agent={"seconds": 3})`` leaves the rest of the agents' behaviour as it is."""
        return dict(self._call("POST", "/settings", changes))

    def fault(self, kind: str, *, method: str | None = None, path: str | None = None, **fault: Any) -> None:
        """Queue a fault.

        :param kind: see :class:`airflow_provider_nenoa.emulator.faults.Fault`.
        :param method: of the requests it hits; None: any.
        :param path: a path, a route, or a pattern; None: any.
        :param fault: ``times`` and the other fields.
        """
        self._call("POST", "/faults", {"kind": kind, "match": {"method": method, "path": path}, **fault})

    def webhook_fault(self, **fault: Any) -> None:
        """Queue a fault for the webhooks of the runs that start from now on; see
        :class:`airflow_provider_nenoa.emulator.behaviour.WebhookFault`."""
        self._call("POST", "/webhook-faults", fault)

    def event(self, event: str, *, url: str | None = None, **fields: Any) -> int:
        """Send an event of OpenAnalyst's, for example ``alert_triggered``.

        :param url: where to; None: to the registered webhooks that asked for it.
        :param fields: of the body; for registered webhooks they are in its ``data``.
        :return: to how many it was sent.
        """
        return int(self._call("POST", "/events", {"event": event, "url": url, "fields": fields})["sent"])

    def clock(self, *, freeze: bool | float = False, advance: float = 0) -> float:
        """Stop or move the clock of limits and expiries.

        :param freeze: True: stop at the present; a number: at that Unix time.
        :param advance: then jump ahead by so many seconds.
        :return: Unix time by that clock.
        """
        return float(self._call("POST", "/clock", {"freeze": freeze, "advance": advance})["time"])

    def reset(self) -> None:
        """Forget everything: runs, counts, faults, and settings that were changed. Real time again."""
        self._call("POST", "/reset")
