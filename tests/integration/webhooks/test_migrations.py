"""The event tables as migrations make them, on every kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import settings
from airflow.utils.db_manager import RunDBManager
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Float, create_engine, inspect, text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.webhooks import app, schema
from airflow_provider_nenoa.webhooks.db_manager import NenoaDBManager
from airflow_provider_nenoa.webhooks.schema import VERSION_TABLE, WrongSchema
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.tables import metadata
from tests.integration.webhooks.test_store import delivery
from tests.support.receiver import FERNET, open_store

OURS = {*metadata.tables, VERSION_TABLE}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def tables_in(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def compare_type(_: object, __: object, ___: object, found: object, wanted: object) -> bool | None:
    """Say what Alembic does not know: MySQL calls a FLOAT(53) a DOUBLE. None: Alembic compares."""
    return False if isinstance(found, mysql.DOUBLE) and isinstance(wanted, Float) and wanted.precision == 53 else None


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": compare_type}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def downgrade(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def made(engine: Engine) -> dict[str, tuple[list[Any], list[str], list[Any]]]:
    """Return all that a database knows of our tables; Alembic compares neither keys nor what counts by itself."""
    look = inspect(engine)
    return {
        table: (
            [{**column, "type": str(column["type"])} for column in look.get_columns(table)],
            look.get_pk_constraint(table)["constrained_columns"],
            sorted(look.get_indexes(table), key=lambda index: str(index["name"])),
        )
        for table in metadata.tables
    }


def test_the_steps_make_the_tables_that_the_code_works_with(engine: Engine) -> None:
    schema.make(engine)
    by_steps = made(engine)
    downgrade(engine, "base")
    metadata.create_all(engine)
    assert by_steps == made(engine)
    assert all(keys for _, keys, _ in by_steps.values())


def test_up_and_down_again(engine: Engine) -> None:
    schema.make(engine)
    assert tables_in(engine) == OURS
    assert differences(engine) == [], "the migrations make other tables than the code works with"
    schema.make(engine)
    downgrade(engine, "base")
    assert tables_in(engine) == {VERSION_TABLE}
    schema.make(engine)
    assert tables_in(engine) == OURS
    assert differences(engine) == []


def test_what_was_begun_is_finished(engine: Engine) -> None:
    schema.make(engine)
    execute(engine, f"DELETE FROM {VERSION_TABLE}")
    execute(engine, "DROP TABLE nenoa_counter")
    on_table = " ON nenoa_run" if engine.dialect.name == "mysql" else ""
    execute(engine, f"DROP INDEX nenoa_run_ref{on_table}")
    schema.make(engine)
    assert tables_in(engine) == OURS
    assert differences(engine) == []


@pytest.mark.parametrize("older", [step.revision for step in schema._scripts().walk_revisions()][1:])
def test_tables_of_an_older_version_are_told_and_altered(engine: Engine, older: str) -> None:
    schema.make(engine)
    downgrade(engine, older)
    assert tables_in(engine) < OURS
    with pytest.raises(WrongSchema, match=rf"of an older version \({older}\)"):
        schema.check(engine)
    schema.make(engine)
    assert differences(engine) == []


def test_tables_of_another_version_are_told(engine: Engine) -> None:
    with pytest.raises(WrongSchema, match=r"The event tables are not there\.\nRun `airflow db migrate`"):
        schema.check(engine)
    schema.make(engine)
    schema.check(engine)
    execute(engine, f"UPDATE {VERSION_TABLE} SET version_num = 'ffffffffffff'")
    for look in (schema.check, schema.make):
        with pytest.raises(WrongSchema, match=r"of a version \(ffffffffffff\) that this version .* does not know"):
            look(engine)


def test_a_store_waits_for_the_migration_and_then_works(database_url: str) -> None:
    store = open_store(database_url, prepare=schema.check)
    with pytest.raises(WrongSchema):
        store.record([delivery("r")])
    assert tables_in(store._engine) == set()
    schema.make(store._engine)
    assert store.record([delivery("r")]) == [True]
    store._engine.dispose()


def test_a_receiver_needs_no_right_to_make_tables(postgres_databases: Callable[[], str]) -> None:
    owner = create_engine(postgres_databases())
    name = owner.url.database
    for statement in (
        f"CREATE ROLE reader_{name} LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO reader_{name}",
    ):
        execute(owner, statement)
    engine = create_engine(owner.url.set(username=f"reader_{name}"))
    with pytest.raises(ProgrammingError, match="permission denied"):
        Store(engine, FERNET).record([delivery("r")])  # type: ignore[arg-type]
    schema.make(owner)
    store = Store(engine, FERNET, prepare=schema.check)  # type: ignore[arg-type]
    assert store.record([delivery("r")]) == [True]
    for used in (engine, owner):
        used.dispose()


def test_airflow_runs_the_manager(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow 3.0 and 3.1 do not find it by themselves.
    path = f"{NenoaDBManager.__module__}.{NenoaDBManager.__name__}"
    monkeypatch.setenv("AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS", path)
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(settings, "SQL_ALCHEMY_CONN", str(engine.url))
    managers = RunDBManager()
    managers._managers = [manager for manager in managers._managers if manager is NenoaDBManager]
    assert managers._managers
    managers.validate()
    with Session(engine) as session:
        manager = NenoaDBManager(session)
        assert not managers.check_migration(session)
        managers.upgradedb(session)
        assert tables_in(engine) == OURS
        assert managers.check_migration(session)
        managers.initdb(session)
        assert managers.check_migration(session)
        manager.downgrade("base")
        assert tables_in(engine) == {VERSION_TABLE}
        manager.upgradedb(to_revision="head")
        session.commit()
        with engine.begin() as connection:
            managers.drop_tables(session, connection)
            session.commit()
    assert tables_in(engine) == set()


def test_the_sql_can_be_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(settings, "SQL_ALCHEMY_CONN", "postgresql+psycopg2://nobody@nowhere/airflow")
    with Session(create_engine("sqlite://")) as session:
        NenoaDBManager(session).upgradedb(show_sql_only=True)
        up = capsys.readouterr().out
        NenoaDBManager(session).downgrade("base", show_sql_only=True)
        down = capsys.readouterr().out
    for table in metadata.tables:
        assert f"CREATE TABLE {table} " in up
        assert f"DROP TABLE {table};" in down


def test_the_map_of_versions_ends_with_the_newest_step() -> None:
    head, _ = schema._head_and_revision(create_engine("sqlite://"))
    assert list(NenoaDBManager.revision_heads_map.values())[-1] == head


@pytest.mark.parametrize(
    ("url", "own", "prepare"),
    [
        ("postgresql+psycopg2://nobody@nowhere/airflow", False, schema.check),
        ("sqlite://", False, schema.make),
        ("postgresql+psycopg2://nobody@nowhere/events", True, schema.make),
    ],
)
def test_a_receiver_makes_its_tables_where_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch, url: str, own: bool, prepare: object
) -> None:
    path = f"{NenoaDBManager.__module__}.{NenoaDBManager.__name__}"
    monkeypatch.setenv("AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS", f"another.Manager, {path}")
    if own:
        monkeypatch.setenv("AIRFLOW__NENOA__EVENT_STORE_URL", url)
    else:
        monkeypatch.setattr(airflow_internals, "metadata_engine", lambda: create_engine(url))
    assert app.open_store()._prepare is prepare
