"""Faults to inject: what an API under stress does, and a network on a bad day."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field

from airflow_provider_nenoa.emulator.behaviour import Strict


class Match(Strict):
    """Which requests a fault hits.

    :param method: for example ``POST``; None: any.
    :param path: the path, a route as in the counts (``/v1/agents/runs/{run_id}``) or a pattern (``/v1/*``); None: any.
    """

    method: str | None = None
    path: str | None = None

    def fits(self, method: str, path: str, route: str) -> bool:
        if self.method is not None and self.method.upper() != method:
            return False
        return self.path is None or self.path in (path, route) or fnmatchcase(path, self.path)


class Fault(Strict):
    """One fault.

    :param kind: ``status``: this status code is the answer, and nothing was done;
        ``drop_before``: the connection is dropped, nothing was done;
        ``drop_after``: the request was acted on, then the connection is dropped without a reply;
        ``drop_body``: acted on; half of the body arrives, then the connection is dropped;
        ``truncate``: acted on; the JSON ends in its middle, but the reply is complete for HTTP;
        ``not_json``: acted on; an HTML page comes back with the status of the reply;
        ``missing_id``: acted on; the reply lacks the run's id;
        ``unknown_status``: acted on; the reply's status is a word that nobody has documented;
        ``slow``: acted on; the reply is held back;
        ``tool_error``: a tool of the MCP server says that it failed; nothing was done;
        ``rpc_error``: the MCP server answers the call of a tool with an error of JSON-RPC; nothing was done.
    :param match: which requests it hits.
    :param times: how many of them; None: all until the next reset.
    :param status: for ``status``.
    :param acted: for ``status``: the request was acted on all the same, as when a gateway gives up.
    :param headers: for ``status``: headers of the reply, for example ``Retry-After``.
    :param body: for ``status``: the body (JSON, or text as it is); None: as the vendor writes errors.
    :param seconds: for ``slow``.
    :param word: for ``unknown_status``.
    :param tool: for ``tool_error`` and ``rpc_error``: the tool that it hits; None: any.
    :param words: for ``tool_error`` and ``rpc_error``: what went wrong.
    """

    kind: Literal[
        "status",
        "drop_before",
        "drop_after",
        "drop_body",
        "truncate",
        "not_json",
        "missing_id",
        "unknown_status",
        "slow",
        "tool_error",
        "rpc_error",
    ]
    match: Match = Match()
    times: int | None = Field(default=1, ge=1)
    status: int = Field(default=500, ge=200, le=599)
    acted: bool = False
    headers: dict[str, str] = {}
    body: Any = None
    seconds: float = Field(default=1.0, ge=0)
    word: str = "simmering"
    tool: str | None = None
    words: str = "An error that was asked for."

    @property
    def of_a_tool(self) -> bool:
        return self.kind in ("tool_error", "rpc_error")


class Faults:
    """Faults in the order in which they were queued; a request takes the first that fits."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._queue.append(fault)

    def take(self, method: str, path: str, route: str) -> Fault | None:
        """The fault that hits this request, if any; it is used up by that."""
        return self._take(lambda fault: not fault.of_a_tool and fault.match.fits(method, path, route))

    def take_tool(self, tool: str) -> Fault | None:
        """The fault that hits this call of a tool, if any; it is used up by that."""
        return self._take(lambda fault: fault.of_a_tool and fault.tool in (None, tool))

    def _take(self, hits: Callable[[Fault], bool]) -> Fault | None:
        for place, fault in enumerate(self._queue):
            if hits(fault):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        del self._queue[place]
                return fault
        return None
