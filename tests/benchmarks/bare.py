"""What the receiver is compared with: a bare FastAPI route that reads the body and does one INSERT and COMMIT."""

from __future__ import annotations

import os

from fastapi import FastAPI, Request
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, create_engine, insert

DATABASE, THREADED = "BENCH_DATABASE", "BENCH_THREADED"
"""Environment variables: the database's URL; whether the INSERT is made in a thread, as FastAPI's guide advises."""


def create_app() -> FastAPI:
    """Make the app; it runs under the same server as the receiver."""
    engine = create_engine(os.environ[DATABASE])
    tables = MetaData()
    bodies = Table("bodies", tables, Column("id", Integer, primary_key=True), Column("body", LargeBinary))
    tables.create_all(engine)
    app = FastAPI()

    def store(body: bytes) -> None:
        with engine.begin() as connection:
            connection.execute(insert(bodies).values(body=body))

    async def read(request: Request) -> bytes:
        return await request.body()

    if os.environ[THREADED] == "yes":
        from starlette.concurrency import run_in_threadpool

        @app.post("/nenoa/webhooks/{conn_id}")
        async def threaded(conn_id: str, request: Request) -> dict[str, str]:
            await run_in_threadpool(store, await read(request))
            return {"status": "stored"}

    else:

        @app.post("/nenoa/webhooks/{conn_id}")
        async def blocking(conn_id: str, request: Request) -> dict[str, str]:
            store(await read(request))
            return {"status": "stored"}

    return app
