"""How much of a connection's plan is used up, for the page in Airflow's user interface."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "5b90c64d21af"
down_revision = "0e1a7c52f9b3"
branch_labels = None
depends_on = None

_binary = mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin")
_name = sa.String(250).with_variant(_binary, "mysql").with_variant(_binary, "mariadb")


def upgrade() -> None:
    """Make the table, if an earlier try has not."""
    if not context.is_offline_mode() and sa.inspect(op.get_bind()).has_table("nenoa_spent"):
        return
    op.create_table(
        "nenoa_spent",
        sa.Column("conn_id", _name, primary_key=True),
        sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("most", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("nenoa_spent")
