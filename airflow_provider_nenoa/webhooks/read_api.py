"""The read API: what came of the webhooks, for our own components."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from airflow_provider_nenoa.vendors.payloads import is_token
from airflow_provider_nenoa.webhooks.age import NewestAge
from airflow_provider_nenoa.webhooks.gate import Gate
from airflow_provider_nenoa.webhooks.polls import Answer, Polls, Question
from airflow_provider_nenoa.webhooks.records import Events, StoredRun
from airflow_provider_nenoa.webhooks.refusals import Refusal
from airflow_provider_nenoa.webhooks.spent import PERIODS, Spent
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.wait import BATCH, Wait, is_plain
from airflow_provider_nenoa.webhooks.waits import Waits

MAX_WAIT = 30.0
"""Seconds for which a long poll is held, at most."""
MAX_IDS = 200
"""Runs that one request may ask for."""


class ReadApi:
    """
    The endpoints of the read API.

    :param store: Where events are kept.
    :param gate: Tells our own components from strangers.
    :param polls: Asks the store.
    :param newest_age: Reports how old the newest event is.
    :param waits: Keeps who waits.
    """

    def __init__(self, store: Store, gate: Gate, polls: Polls, newest_age: NewestAge, waits: Waits) -> None:
        self._waits = waits
        self._store = store
        self._gate = gate
        self._polls = polls
        self._newest_age = newest_age

    async def run(self, request: Request) -> Response:
        """Return a run; with ``wait``, as soon as it has ended."""
        conn_id, wait = await self._reader(request)
        run_id, ref = _token(request.path_params["run_id"]), _token(request.query_params.get("ref"))
        kind = request.query_params.get("kind")
        keys = [(name, conn_id, value) for name, value in (("run", run_id), ("ref", ref)) if value is not None]
        question = Question(
            conn_id,
            lambda: _of_run(self._store.find(conn_id, run_id, ref, kind), lambda run: run.status.is_end),
            ("run", conn_id, run_id, ref, kind),
            keys,
        )
        return await self._first(request, question, wait)

    async def ref(self, request: Request) -> Response:
        """Return the run with a ``ref``; with ``wait``, as soon as its id is known or it has ended."""
        conn_id, wait = await self._reader(request)
        ref = _token(request.path_params["ref"])
        question = Question(
            conn_id,
            lambda: _of_run(
                self._store.find(conn_id, ref=ref), lambda run: run.run_id is not None or run.status.is_end
            ),
            ("ref", conn_id, ref),
            [] if ref is None else [("ref", conn_id, ref)],
        )
        return await self._first(request, question, wait)

    async def event(self, request: Request) -> Response:
        """Return a run or an event by the number of its row, which stands in the list of changes."""
        conn_id, _ = await self._reader(request)
        number = _cursor(request.path_params["id"])
        return _response(await self._polls.ask(conn_id, lambda: _of_run(self._store.event(conn_id, number))))

    async def runs(self, request: Request) -> Response:
        """Return where several runs stand: those that are known."""
        conn_id, _ = await self._reader(request)
        run_ids, refs = ([_token(text) for text in request.query_params.getlist(name)] for name in ("id", "ref"))
        if len(run_ids) + len(refs) > MAX_IDS:
            raise Refusal(422, "too_many", f"Ask for {MAX_IDS} runs at most.")
        summaries = await self._polls.ask(
            conn_id, self._store.summaries, conn_id, [text for text in run_ids if text], [text for text in refs if text]
        )
        return JSONResponse({"runs": [summary.to_json() for summary in summaries]})

    async def events(self, request: Request) -> Response:
        """Return what has changed after a cursor; with ``wait``, as soon as something has. Without: the cursor."""
        conn_id, wait = await self._reader(request)
        text = request.query_params.get("after")
        if text is None:
            return JSONResponse(Events(await self._polls.ask(conn_id, self._store.cursor), [], more=False).to_json())
        after = _cursor(text)
        question = Question(
            conn_id,
            lambda: _of_events(self._store.events(conn_id, after)),
            ("events", conn_id, after),
            [("events", conn_id)],
        )
        return await self._first(request, question, wait)

    async def waiting(self, request: Request) -> Response:
        """Note ``waiting``, ``over`` and ``spent`` of a connection, as `Waits.tell` takes them."""
        # The body first: whoever sees meanwhile whether the client is still there would read it instead.
        sent = await self._gate.body(request)
        conn_id, _ = await self._reader(request)
        try:
            body = json.loads(sent)
            waiting, over = [Wait.from_json(each) for each in body["waiting"]], list(body["over"])
            if not all(is_plain(name, 250) for name in over):
                raise ValueError("a name of a wait is none")
            spent = [Spent.from_json(each) for each in body.get("spent", [])]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise Refusal(
                422, "bad_waiting", "'waiting', 'over' and 'spent' must be lists of what the receiver knows."
            ) from None
        if len(waiting) + len(over) > BATCH or len(spent) > len(PERIODS):
            raise Refusal(422, "too_many", f"Tell of {BATCH} runs at most.")
        await self._polls.ask(conn_id, self._waits.tell, conn_id, waiting, over, spent)
        return JSONResponse({"status": "noted"})

    async def _reader(self, request: Request) -> tuple[str, float]:
        """Check a request; return its connection and the seconds that it wants to wait."""
        conn_id = await self._gate.reader(request)
        return conn_id, _wait(request.query_params.get("wait", "0"))

    async def _first(self, request: Request, question: Question, wait: float) -> Response:
        if wait == 0 or not question.keys:
            return _response(await self._polls.ask(question.conn_id, question.read))
        await self._newest_age.waited_for(question.conn_id)
        return _response(await self._polls.first(request, question, wait))


def _of_run(found: tuple[StoredRun, str] | None, is_enough: Callable[[StoredRun], bool] = lambda run: True) -> Answer:
    if found is None:
        return Answer(None, is_enough=False)
    run, payload = found
    return Answer(run.to_text(payload).encode(), is_enough(run))


def _of_events(page: Events) -> Answer:
    return Answer(json.dumps(page.to_json()).encode(), bool(page.events))


def _response(answer: Answer) -> Response:
    if answer.content is None:
        raise Refusal(404, "unknown_run", "No webhook has told of this run.")
    return Response(answer.content, media_type="application/json")


def _token(text: str | None) -> str | None:
    return text if text is not None and is_token(text) else None


def _wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise Refusal(422, "bad_wait", "'wait' must be a number of seconds.")
    return min(max(seconds, 0.0), MAX_WAIT)


def _cursor(text: str) -> int:
    # As long as a number of 63 bits can be: what databases can compare with.
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Refusal(422, "bad_cursor", "'after' must be the 'cursor' of an earlier answer.")
    return int(text)
