from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, entry_points
from inspect import isfunction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import airflow
import jsonschema
import pytest
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
from airflow.sdk import task

from airflow_provider_nenoa.get_provider_info import connection_type, get_provider_info
from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import PLANS, OpenAnalystHook
from airflow_provider_nenoa.hooks.openanalyst_sql import OpenAnalystSqlHook

# Not by an import: Airflow 3.2 puts a mock in its place.
HAS_WTFORMS = any(Distribution.discover(name="wtforms"))

HOOKS = {"nenai": NenAIHook, "openanalyst": OpenAnalystHook}


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return get_provider_info()


@pytest.fixture(scope="module")
def manager() -> ProvidersManager:
    return ProvidersManager()


def test_the_metadata_is_what_airflow_expects(info: dict[str, Any]) -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    (entry,) = (entry for entry in entry_points(group="apache_airflow_provider") if "nenoa" in entry.value)
    assert entry.load() is get_provider_info


def test_the_metadata_is_json_and_made_anew(info: dict[str, Any]) -> None:
    assert json.loads(json.dumps(info)) == info == get_provider_info()


def paths(value: Any) -> Iterator[str]:
    """Every text in the metadata that is a path to something in this package."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from paths(inner)
    elif isinstance(value, str) and value.startswith("airflow_provider_nenoa."):
        yield value


def test_everything_that_is_named_exists(info: dict[str, Any]) -> None:
    named = list(paths(info))
    functions = {each["class-name"] for each in info["task-decorators"]}
    functions |= {path for each in info["asset-uris"] for path in paths(each)}
    assert len(named) > 10
    for path in named:
        try:
            import_module(path)
        except ModuleNotFoundError:
            module, _, name = path.rpartition(".")
            found = getattr(import_module(module), name)
            assert isfunction(found) if path in functions else isinstance(found, type), path


def test_every_module_with_operators_sensors_triggers_and_hooks_is_named(info: dict[str, Any]) -> None:
    named = set(paths(info))
    root = Path(import_module("airflow_provider_nenoa").__file__ or "").parent
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for module in ("nenai", "openanalyst"):
            assert (root / kind / f"{module}.py").exists()
            assert f"airflow_provider_nenoa.{kind}.{module}" in named


@pytest.mark.parametrize("conn_type", HOOKS)
def test_airflow_finds_the_connection_type(manager: ProvidersManager, conn_type: str) -> None:
    hook = manager.hooks[conn_type]
    assert hook is not None
    assert hook.hook_class_name == f"{HOOKS[conn_type].__module__}.{HOOKS[conn_type].__name__}"
    assert hook.package_name == "airflow-provider-nenoa"
    assert (
        hook.hook_name
        == HOOKS[conn_type].hook_name
        == get_provider_info()["connection-types"][list(HOOKS).index(conn_type)]["hook-name"]
    )
    assert hook.connection_testable
    assert hook.connection_id_attribute_name == HOOKS[conn_type].conn_name_attr


EXTRA = {
    "nenai": {"webhook_secret", "webhook_secret_previous", "run_status_path", "timeout"},
    "openanalyst": {
        *("webhook_secret", "webhook_secret_previous"),
        *("plan", "requests_per_minute", "requests_per_day", "timeout"),
    },
}


@pytest.mark.parametrize("conn_type", HOOKS)
@pytest.mark.needs("forms_by_metadata")
def test_the_connection_form(conn_type: str) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == conn_type)
    standard, extra = form.standard_fields, form.extra_fields
    assert form.hook_name == HOOKS[conn_type].hook_name
    assert (standard.host.title, standard.host.placeholder) == ("Base URL", HOOKS[conn_type].default_host)
    assert (standard.password.title, standard.password.hidden) == ("API key", False)
    assert (standard.port.hidden, standard.port.placeholder) == (False, "443: Airflow's Test button needs it")
    assert standard.login.hidden
    assert standard.url_schema.hidden
    assert set(extra) >= EXTRA[conn_type]
    assert extra["webhook_secret"]["schema"]["format"] == "password"
    assert extra["webhook_secret"]["schema"]["title"] == "Webhook secret"
    assert extra["timeout"]["schema"]["type"] == ["integer", "null"]
    assert all(field["description"] for field in extra.values())


@pytest.mark.parametrize("conn_type", HOOKS)
def test_every_field_explains_itself(conn_type: str) -> None:
    fields = connection_type(conn_type)["conn-fields"]
    assert set(fields) >= EXTRA[conn_type]
    for name, field in fields.items():
        assert field["label"], name
        assert field["description"].endswith("."), name
    for name in ("webhook_secret", "webhook_secret_previous"):
        assert fields[name]["schema"]["format"] == "password"


def test_the_form_offers_the_plans_that_are_known() -> None:
    schema = connection_type("openanalyst")["conn-fields"]["plan"]["schema"]
    assert [plan for plan in schema["enum"] if plan] == [*PLANS, "enterprise"]


@pytest.mark.parametrize("hook", [*HOOKS.values(), OpenAnalystSqlHook], ids=lambda hook: hook.__name__)
def test_older_airflows_find_the_form_in_the_class_itself(hook: type) -> None:
    assert {"get_connection_form_widgets", "get_ui_field_behaviour"} <= set(hook.__dict__)


@pytest.mark.parametrize("conn_type", HOOKS)
def test_the_form_of_older_airflows(conn_type: str) -> None:
    if not HAS_WTFORMS:
        pytest.skip("Airflow 3.2 and later do without it")
    import wtforms

    hook = HOOKS[conn_type]
    fields = hook.get_connection_form_widgets()
    assert set(fields) == set(connection_type(conn_type)["conn-fields"])

    form = type("Form", (wtforms.Form,), fields)()
    assert form.webhook_secret.type == "PasswordField"
    assert form.timeout.type == "IntegerField"
    assert form.timeout.label.text == "Timeout (seconds)"
    assert form.webhook_secret.description
    assert hook.get_ui_field_behaviour()["hidden_fields"] == ["schema", "login"]


@pytest.mark.parametrize("hook", HOOKS.values())
def test_a_hook_is_a_connection_form_class(hook: type[VendorHook]) -> None:
    for name in ("conn_name_attr", "default_conn_name", "conn_type", "hook_name"):
        assert isinstance(getattr(hook, name), str)
    assert hook().conn_id == hook.default_conn_name  # type: ignore[call-arg, attr-defined]
    assert hook(**{hook.conn_name_attr: "other"}).conn_id == "other"  # type: ignore[call-arg, attr-defined]


def test_airflow_knows_the_configuration() -> None:
    options = get_provider_info()["config"]["nenoa"]["options"]
    assert {"webhook_base_url", "receiver_url", "event_store_url", "event_retention_days"} <= set(options)
    ProvidersManager().initialize_providers_configuration()
    assert conf.getfloat("nenoa", "event_retention_days") == 7


def test_airflow_finds_the_links(manager: ProvidersManager) -> None:
    assert "airflow_provider_nenoa.links.nenai.NenAIRunLink" in manager.extra_links_class_names


def test_the_guides_are_pages_of_ours_and_the_logo_is_in_the_package(info: dict[str, Any]) -> None:
    root = Path(import_module("airflow_provider_nenoa").__file__ or "").parents[1]
    urls = tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]
    for integration in info["integrations"]:
        for guide in integration["how-to-guide"]:
            page = guide.removeprefix(urls["Documentation"] + "/page/").removesuffix(".html")
            assert (root / "docs" / f"{page}.md").exists(), guide
        assert ElementTree.parse(root / integration["logo"]).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_airflow_finds_decorators_and_notifiers(manager: ProvidersManager, info: dict[str, Any]) -> None:
    for each in info["task-decorators"]:
        module, _, name = each["class-name"].rpartition(".")
        assert getattr(task, each["name"]) is getattr(import_module(module), name)
    assert set(info["notifications"]) <= set(manager.notification)
