"""Our connection types in Airflow's connection form, as a person meets them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.get_provider_info import connection_type
from tests.browser.conftest import API_KEY, picture
from tests.support import versions
from tests.support.local_airflow import LocalAirflow

SECRET = "webhook-secret-browser0123456789"
TYPES = {"nenai": "NenAI", "openanalyst": "OpenAnalyst", "openanalyst_sql": "OpenAnalyst SQL"}


class Form:
    """The form for a new connection, or for one that is edited."""

    def __init__(self, page: Page) -> None:
        self.dialog = page.get_by_role("dialog")
        self.page = page

    def pick(self, conn_type: str) -> None:
        self.dialog.get_by_role("combobox").click()
        self.page.keyboard.type(TYPES[conn_type])
        self.page.get_by_role("option", name=TYPES[conn_type], exact=True).click()
        expect(self.field("host")).to_be_visible()

    def unfold(self) -> None:
        self.dialog.get_by_role("button", name="Extra Fields", exact=True).click()
        expect(self.field("timeout")).to_be_visible()

    def field(self, name: str) -> Locator:
        """A standard field by its name, or one of ours."""
        return self.dialog.locator(f'[name="{name}"], [name="element_{name}"]').first

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.field(name).fill(value)
            self.field(name).blur()

    def save(self) -> None:
        self.dialog.get_by_role("button", name="Save").click()
        expect(self.dialog).to_have_count(0)


def new(page: Page, airflow: LocalAirflow) -> Form:
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    return Form(page)


def row(page: Page, airflow: LocalAirflow, conn_id: str) -> Locator:
    page.goto(f"{airflow.url}/connections")
    found = page.get_by_role("row").filter(has=page.get_by_text(conn_id, exact=True))
    expect(found).to_be_visible()
    return found


def host_of(emulator: Emulator, conn_type: str) -> str:
    return emulator.nenai_url if conn_type == "nenai" else emulator.openanalyst_url


def stored(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    printed = airflow.airflow("connections", "get", conn_id, "--output", "json")
    found = json.loads(printed[printed.index("[{") :])[0]  # lines of its log stand before
    extra = found["extra_dejson"]
    found["extra"] = extra if isinstance(extra, dict) else json.loads(extra)
    return found


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_form_has_labels_placeholders_and_help(page: Page, airflow: LocalAirflow, conn_type: str) -> None:
    form = new(page, airflow)
    form.pick(conn_type)
    metadata = connection_type(conn_type)
    behaviour = metadata["ui-field-behaviour"]
    for label in behaviour["relabeling"].values():
        expect(form.dialog.get_by_text(label, exact=True).first).to_be_visible()
    for name, placeholder in behaviour["placeholders"].items():
        if name not in metadata["conn-fields"]:  # Airflow's form shows none in fields of a provider's own
            expect(form.field(name)).to_have_attribute("placeholder", placeholder)
    for name in behaviour["hidden-fields"]:
        expect(form.field(name)).to_have_count(0)
    form.unfold()
    for name, field in metadata["conn-fields"].items():
        expect(form.dialog.get_by_text(field["label"], exact=True).first).to_be_visible()
        assert field["description"] in " ".join(form.dialog.inner_text().split())  # an address in it is a link
        if field["schema"].get("format") == "password" and versions.has("masked_fields"):
            expect(form.field(name)).to_have_attribute("type", "password")
    picture(page, f"connection-{conn_type}")


@pytest.mark.parametrize("conn_type", TYPES)
def test_saved_opened_again_and_edited_it_keeps_its_secrets(
    page: Page, airflow: LocalAirflow, emulator: Emulator, conn_type: str
) -> None:
    conn_id = f"kept_{conn_type}"
    has_secret = "webhook_secret" in connection_type(conn_type)["conn-fields"]
    form = new(page, airflow)
    form.fill(connection_id=conn_id)
    form.pick(conn_type)
    form.fill(host=host_of(emulator, conn_type), password=API_KEY)
    form.unfold()
    form.fill(timeout="30", **({"webhook_secret": SECRET} if has_secret else {}))
    form.save()

    row(page, airflow, conn_id).get_by_role("button", name="Edit Connection").click()
    form = Form(page)
    expect(form.field("host")).to_have_value(host_of(emulator, conn_type))
    assert API_KEY not in page.content()
    assert SECRET not in page.content()
    form.unfold()
    expect(form.field("timeout")).to_have_value("30")
    form.fill(timeout="45")
    form.save()

    found = stored(airflow, conn_id)
    assert (found["conn_type"], found["password"]) == (conn_type, API_KEY)
    assert int(found["extra"]["timeout"]) == 45
    assert not has_secret or found["extra"]["webhook_secret"] == SECRET


@pytest.mark.needs("test_button")
@pytest.mark.parametrize("conn_type", ["nenai", "openanalyst"])
@pytest.mark.parametrize(("key", "words"), [(API_KEY, "accepted the API key"), ("wrong", "401")])
def test_the_test_button_tells_the_vendors_words(
    page: Page, airflow: LocalAirflow, emulator: Emulator, conn_type: str, key: str, words: str
) -> None:
    conn_id = f"tried_{conn_type}_{'good' if key == API_KEY else 'bad'}"
    host, _, port = host_of(emulator, conn_type).rpartition(":")
    port, _, path = port.partition("/")
    form = new(page, airflow)
    form.fill(connection_id=conn_id)
    form.pick(conn_type)
    form.fill(host=f"{host}/{path}".rstrip("/"), port=port, password=key)
    form.save()
    page.reload()
    row(page, airflow, conn_id).get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text(re.compile(words)).first).to_be_visible()
    picture(page, f"connection-test-{'good' if key == API_KEY else 'bad'}")
