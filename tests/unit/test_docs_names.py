"""What the pages name in passing, outside of their blocks of code, exists."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from airflow.configuration import conf

from airflow_provider_nenoa import runs
from airflow_provider_nenoa.get_provider_info import get_provider_info
from tests.support.shell import check_command, commands_of
from tests.support.versions import SUPPORTED, VERSION
from tests.unit.test_docs import PAGES, ROOT

PACKAGE = ROOT / "airflow_provider_nenoa"


def named(pattern: str) -> Iterator[tuple[str, str]]:
    """The page and the text of each piece of inline code that looks like this."""
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", prose):
            if re.fullmatch(pattern, code):
                yield page.name, code


def params(pattern: str, least: int) -> pytest.MarkDecorator:
    found = sorted(set(named(pattern)))
    assert len(found) >= least, pattern
    return pytest.mark.parametrize(("page", "code"), found)


@params(r"(?:example_dags|tests|dev|constraints|docs)/[\w./-]+", 20)
def test_files(page: str, code: str) -> None:
    assert (ROOT / code).exists()


@params(r"[a-z_]+(?:/\w+)*\.py", 8)
def test_modules(page: str, code: str) -> None:
    places = (ROOT, PACKAGE, PACKAGE / "operators")
    assert code == "conftest.py" or any((place / code).exists() for place in places)  # that one is the reader's


@params(r"make .+", 15)
def test_targets(page: str, code: str) -> None:
    for command in commands_of(code):
        check_command(command)


@params(r"\[\w+\] [a-z_]+", 30)
def test_options(page: str, code: str) -> None:
    section, option = code.strip("[").split("] ")
    known = get_provider_info()["config"] | conf.configuration_description
    elsewhere = section == "celery" or SUPPORTED[-1] != VERSION  # another provider's; older versions lack some
    assert elsewhere or option in known[section]["options"]


def test_status_words() -> None:
    text = (ROOT / "docs" / "waiting.md").read_text().partition("\n## Status words\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", text)) == {word for words in runs._WORDS.values() for word in words}
