"""Airflow's own user interface in headless Chromium, with an API server and emulated vendors behind it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from airflow_provider_nenoa.emulator import Emulator
from tests.support.local_airflow import LocalAirflow

expect.set_options(timeout=30_000)  # as long as a busy machine may take

API_KEY = "oa_live_browser0123456789"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with Emulator(openanalyst_key=API_KEY, nenai_key=API_KEY) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    airflow = LocalAirflow(home, home / "dags")
    airflow.start(["api-server"])
    yield airflow
    airflow.stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is missing: apt-get install chromium"
    quiet = ("background-networking", "component-update", "sync", "quic", "gpu")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(30_000)
    yield page
    page.close()


def picture(page: Page, name: str) -> None:
    """Keep what is to be seen for the documentation, if `make screenshots` asks for it."""
    if os.environ.get("NENOA_SCREENSHOTS"):
        page.wait_for_timeout(500)  # dialogs fade in
        page.screenshot(path=PICTURES / f"{name}.png")
