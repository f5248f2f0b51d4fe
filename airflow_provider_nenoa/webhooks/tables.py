"""The receiver's tables, for whoever reads and writes them, and for whoever migrates them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql


def _text(length: int) -> String:
    # MySQL compares text without case unless told otherwise, and its default may have no room for all of Unicode.
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql").with_variant(binary, "mariadb")


# MySQL's BLOB ends at 64 KiB.
_BODY = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql").with_variant(mysql.LONGBLOB(), "mariadb")

metadata = MetaData()

counter = Table(
    "nenoa_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)
"""One row, whose lock orders all changes."""

runs = Table(
    "nenoa_run",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # the number of its first change
    Column("conn_id", _text(250), nullable=False),
    Column("run_id", _text(250)),  # null: no webhook has named it yet, or it is an event without a run
    Column("kind", _text(16), nullable=False),  # empty: no webhook has told it
    Column("ref", _text(250)),
    Column("event", _text(64)),
    Column("status", _text(16), nullable=False),
    Column("word", _text(64), nullable=False),
    # The body as it came, compressed and encrypted; empty in a tombstone.
    Column("payload", _BODY, nullable=False),
    Column("digest", _text(64), nullable=False),  # SHA-256 of the body
    Column("kept", Integer, nullable=False),  # 0: a tombstone, of which only the writer knows
    Column("seq", BigInteger, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("received_at", Float(53), nullable=False),
    Column("first_at", Float(53)),  # when the first webhook came
    Column("sent_at", Float(53)),  # when the newest was signed, where the vendor says so
    Index("nenoa_run_seq", "seq"),
    Index("nenoa_run_feed", "conn_id", "seq"),
    Index("nenoa_run_id", "conn_id", "run_id", "kind", unique=True),
    Index("nenoa_run_ref", "conn_id", "ref", unique=True),
    Index("nenoa_run_digest", "conn_id", "digest"),
    Index("nenoa_run_age", "kept", "received_at"),
)
"""
Runs in their newest state, and events that are about no run.

Null differs from null in all the databases that Airflow runs on: the unique indexes hold for what is known only.
"""

tallies = Table(
    "nenoa_tally",
    metadata,
    Column("conn_id", _text(250), primary_key=True),  # empty: of nobody we know
    Column("what", _text(32), primary_key=True),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),  # Unix time / 60
    Column("number", BigInteger, nullable=False),
    Index("nenoa_tally_minute", "minute"),
)
"""How many webhooks of a connection came in a minute, by what became of them (`tally`)."""

waits = Table(
    "nenoa_waiting",
    metadata,
    Column("conn_id", _text(250), primary_key=True),
    Column("name", _text(250), primary_key=True),  # kind and id, or the ref: `Wait.name`
    Column("run_id", _text(250)),
    Column("ref", _text(250)),
    Column("kind", _text(16), nullable=False),
    Column("started_at", Float(53), nullable=False),
    Column("dag_id", _text(250)),
    Column("dag_run_id", _text(250)),
    Column("task_id", _text(250)),
    Column("map_index", Integer),
    Column("lost", Integer, nullable=False),  # 1: a start whose reply never came
    Column("seen_at", Float(53), nullable=False),
    Index("nenoa_waiting_order", "conn_id", "started_at", "name"),
    Index("nenoa_waiting_age", "lost", "seen_at"),
)
"""Who waits for which run, as he said himself: forgotten when he does not say it again (`waits`)."""

spent = Table(
    "nenoa_spent",
    metadata,
    Column("conn_id", _text(250), primary_key=True),
    Column("seconds", Integer, primary_key=True, autoincrement=False),  # how long the period is
    Column("requests", BigInteger, nullable=False),
    Column("most", BigInteger, nullable=False),  # the plan's limit
    Column("seen_at", Float(53), nullable=False),
)
"""How much of a connection's plan is used up, as whoever polls has told last (`waits`)."""
