"""The page "Nenoa", as a person finds and uses it."""

from __future__ import annotations

import json
import re
import time

import pytest
import requests
from playwright.sync_api import Browser, FrameLocator, Page, expect

from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.spent import Spent
from tests.browser.conftest import picture
from tests.support import versions
from tests.support.local_airflow import LocalAirflow
from tests.support.receiver import SENDERS, body_of, signed

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def connection(airflow: LocalAirflow) -> str:
    """A connection for which webhooks came: of two runs, one of them again; one that was refused; one about no run."""
    extra = json.dumps({"webhook_secret": SENDERS["oa"].secret})
    body = {"connection_id": "oa", "conn_type": "openanalyst", "password": "key", "extra": extra}
    airflow.api.request("POST", "/connections", json=body)
    alert = json.dumps({"event": HOSTILE, "rule_name": "revenue"}).encode()
    done = body_of("openanalyst", "run-done", "completed", result="a secret result")
    for sent in (body_of("openanalyst", "run-done", "running"), done, done, alert):
        deliver(airflow, sent, signed("oa", sent), 200)
    deliver(airflow, body_of("openanalyst", "run-going", "running"), signed("oa", b"another body"), 401)
    time.sleep(3)  # counts are written every two seconds
    return "oa"


def deliver(airflow: LocalAirflow, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = requests.post(f"{airflow.url}/nenoa/webhooks/oa", data=body, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text


def open_page(page: Page, airflow: LocalAirflow) -> FrameLocator | Page:
    """Open the page through Airflow's menu, or at its address where it is not in the menu."""
    page.goto(airflow.url)
    frame: FrameLocator | Page = page
    if versions.has("page_in_airflow"):
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Nenoa").click()
        frame = page.frame_locator("iframe[title=Nenoa]")
    else:
        page.goto(f"{airflow.url}/nenoa/page/")
    frame.get_by_role("button", name="oa", exact=True).click()  # other tests have connections of their own
    return frame


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_person_sees_what_arrived_and_tests_the_way(
    browser: Browser, airflow: LocalAirflow, connection: str, theme: str
) -> None:
    # The system wants the other one: what counts is what was chosen in Airflow, if the page is in its document.
    other = "light" if theme == "dark" else "dark"
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=other)  # type: ignore[arg-type]
    problems: list[str] = []
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    try:
        page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        spent = [Spent(60, 12, 60), Spent(86_400, 2300, 10_000)]
        ReceiverClient("oa", SENDERS["oa"].secret, f"{airflow.url}/nenoa").tell_waiting([], [], spent)
        frame = open_page(page, airflow)
        expect(frame.get_by_text("Last minute: 12 of 60 sent, 48 left")).to_contain_text("2,300 of 10,000 sent")
        events = frame.get_by_role("region", name="What arrived")
        done = events.get_by_role("row").filter(has_text="run-done")
        expect(done).to_contain_text("success (completed)")
        expect(done.get_by_role("cell").last).to_have_text("3")  # it goes on, it has ended, and that again
        expect(events.get_by_role("row").filter(has_text=HOSTILE)).to_contain_text("about no run")
        expect(frame.get_by_role("region", name="What was refused")).to_contain_text("signed with another secret")
        expect(frame.get_by_role("img").first).to_have_attribute("aria-label", re.compile("1 repeated, 1 refused"))
        expect(frame.get_by_label("Webhook address")).to_have_value(f"{airflow.url}/nenoa/webhooks/oa")
        dark = "dark" in (frame.locator("html").get_attribute("class") or "")
        assert dark == ((theme if versions.has("page_in_airflow") else other) == "dark")

        frame.get_by_role("button", name="Run the self-test").click()
        expect(frame.get_by_text("Passed: webhooks for this connection arrive.")).to_be_visible()
        expect(events.get_by_role("row").filter(has_text="selftest-").first).to_be_visible()

        picture(page, f"page-{theme}")
        assert problems == []
        assert "a secret result" not in frame.locator("body").inner_text()
    finally:
        page.close()


def test_it_is_filtered_and_walked_with_the_keyboard(page: Page, airflow: LocalAirflow, connection: str) -> None:
    frame = open_page(page, airflow)
    events = frame.get_by_role("region", name="What arrived")
    expect(events.get_by_role("row").filter(has_text="run-done")).to_be_visible()
    frame.get_by_label("Status").focus()
    page.keyboard.type("running")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on the button "Show"
    expect(events.get_by_role("row").filter(has_text="run-done")).to_have_count(0)
    frame.get_by_label("Run", exact=True).fill("run-done")
    frame.get_by_label("Status").select_option("")
    frame.get_by_role("button", name="Show").press("Enter")
    expect(events.get_by_role("row").filter(has_text="run-done")).to_have_count(1)
    expect(events.get_by_role("row")).to_have_count(2)  # with the heading
