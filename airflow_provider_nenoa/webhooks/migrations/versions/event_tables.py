"""The event tables, as they are first released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

revision = "0e1a7c52f9b3"
down_revision = None
branch_labels = None
depends_on = None


def _text(length: int) -> sa.String:
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(binary, "mysql").with_variant(binary, "mariadb")


_body = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql").with_variant(mysql.LONGBLOB(), "mariadb")

# Not those of `tables`: this step stays as it is when they change.
_tables = sa.MetaData()

sa.Table(
    "nenoa_counter",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)
sa.Table(
    "nenoa_run",
    _tables,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("conn_id", _text(250), nullable=False),
    sa.Column("run_id", _text(250)),
    sa.Column("kind", _text(16), nullable=False),
    sa.Column("ref", _text(250)),
    sa.Column("event", _text(64)),
    sa.Column("status", _text(16), nullable=False),
    sa.Column("word", _text(64), nullable=False),
    sa.Column("payload", _body, nullable=False),
    sa.Column("digest", _text(64), nullable=False),
    sa.Column("kept", sa.Integer, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False),
    sa.Column("received_at", sa.Float(53), nullable=False),
    sa.Column("first_at", sa.Float(53)),
    sa.Column("sent_at", sa.Float(53)),
    sa.Index("nenoa_run_seq", "seq"),
    sa.Index("nenoa_run_feed", "conn_id", "seq"),
    sa.Index("nenoa_run_id", "conn_id", "run_id", "kind", unique=True),
    sa.Index("nenoa_run_ref", "conn_id", "ref", unique=True),
    sa.Index("nenoa_run_digest", "conn_id", "digest"),
    sa.Index("nenoa_run_age", "kept", "received_at"),
)
sa.Table(
    "nenoa_tally",
    _tables,
    sa.Column("conn_id", _text(250), primary_key=True),
    sa.Column("what", _text(32), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Index("nenoa_tally_minute", "minute"),
)
sa.Table(
    "nenoa_waiting",
    _tables,
    sa.Column("conn_id", _text(250), primary_key=True),
    sa.Column("name", _text(250), primary_key=True),
    sa.Column("run_id", _text(250)),
    sa.Column("ref", _text(250)),
    sa.Column("kind", _text(16), nullable=False),
    sa.Column("started_at", sa.Float(53), nullable=False),
    sa.Column("dag_id", _text(250)),
    sa.Column("dag_run_id", _text(250)),
    sa.Column("task_id", _text(250)),
    sa.Column("map_index", sa.Integer),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("seen_at", sa.Float(53), nullable=False),
    sa.Index("nenoa_waiting_order", "conn_id", "started_at", "name"),
    sa.Index("nenoa_waiting_age", "lost", "seen_at"),
)


def upgrade() -> None:
    """Make what is not there: where DDL is no transaction, an earlier try may have made a part of it."""
    for table in _tables.sorted_tables:
        there = None if context.is_offline_mode() else sa.inspect(op.get_bind())
        is_there = there is not None and there.has_table(table.name)
        if not is_there:
            op.execute(CreateTable(table))
        indexes = (
            {index["name"] for index in there.get_indexes(table.name)} if there is not None and is_there else set()
        )
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in indexes:
                op.execute(CreateIndex(index))


def downgrade() -> None:
    """Drop them, and all events with them."""
    for table in reversed(_tables.sorted_tables):
        op.drop_table(table.name)
