"""Every block of the documentation's code is run, or read by what it is meant for; none is left unclassified."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from airflow.configuration import conf
from airflow.sdk.definitions._internal.contextmanager import DagContext
from markdown_it import MarkdownIt

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.get_provider_info import get_provider_info
from airflow_provider_nenoa.http import repeating
from airflow_provider_nenoa.operators import base
from airflow_provider_nenoa.results import archive, download, payload_files, storage
from airflow_provider_nenoa.waiting import channel, report
from airflow_provider_nenoa.webhooks import bodies, connections, floods, polls, read_api, refusals, store, waits, writer
from airflow_provider_nenoa.webhooks.paths import PREFIX
from tests.support.shell import check_command, commands_of
from tests.unit.test_mapped_secrets import serialised

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
DIRECTIVES = {"{eval-rst}", "{include}", "{literalinclude}", "{toctree}"}
"""What Sphinx reads itself, whose warnings are errors: ``make docs``."""


def blocks(page: Path) -> Iterator[tuple[str, int, str]]:
    """The language, the line and the text of each block of code on a page."""
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            yield token.info.strip().partition(" ")[0], token.map[0] + 1, token.content


BLOCKS: dict[str, list[tuple[Path, int, str]]] = defaultdict(list)
for _page in PAGES:
    for _language, _line, _text in blocks(_page):
        BLOCKS[_language].append((_page, _line, _text))


def of(*languages: str) -> pytest.MarkDecorator:
    """Make a test of each block in some languages."""
    found = [block for language in languages for block in BLOCKS[language]]
    assert found, languages
    return pytest.mark.parametrize(
        ("page", "line", "text"),
        [pytest.param(*block, id=f"{block[0].name}:{block[1]}", marks=_needed_by(block[2])) for block in found],
    )


def _needed_by(text: str) -> list[pytest.MarkDecorator]:
    """Return the marks of what not every Airflow has."""
    words = {"airflow db-manager": "db_manager_command", ".retries import": "retry_policy", "common.ai": "common_ai"}
    return [pytest.mark.needs(feature) for word, feature in words.items() if word in text]


def test_no_block_is_unclassified() -> None:
    readers = {"python", "bash", "console", "sh", "json", "ini", "yaml", "nginx"}
    unknown = {
        f"{page.name}:{line}": language or "none"
        for language, found in BLOCKS.items()
        for page, line, _ in found
        if language not in readers | DIRECTIVES
    }
    assert not unknown, "say in which language these are, and read it in a test"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module to run code in; DAGs that are made meanwhile register with it, as in Airflow's DAG processor."""
    module = ModuleType("code_of_a_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(DagContext, "autoregistered_dags", set())
    monkeypatch.setattr(DagContext, "current_autoregister_module_name", module.__name__)
    return module


def check_dags() -> int:
    """Serialise all DAGs that were made, as Airflow does; return how many there are."""
    found = [dag for dag, _ in DagContext.autoregistered_dags]
    for dag in found:
        assert dag.tasks, dag.dag_id
        assert serialised(dag)
    return len(found)


@pytest.fixture
def vendors(emulator_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    emulator_server.control.reset()
    for name, value in emulator_server.airflow_connections().items():
        monkeypatch.setenv(name, value)
    return emulator_server


PYTHON_PAGES: dict[Path, str] = defaultdict(str)
for _page, _, _text in BLOCKS["python"]:
    PYTHON_PAGES[_page] += _text


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=_needed_by(text)) for page, text in sorted(PYTHON_PAGES.items())]
)
def test_python(page: Path, module: ModuleType, vendors: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a page are one program, which runs against the emulated vendors; its DAGs can be serialised."""
    makes_dags = False
    for _, line, text in (block for block in BLOCKS["python"] if block[0] == page):
        place = f"{page.name}:{line}"
        if text.startswith("# tests/"):  # run, with what it tests, by tests/e2e/test_emulator_docs.py
            compile(text, place, "exec")
            continue
        makes_dags = makes_dags or "DAG(" in text
        exec(compile("\n" * line + text, place, "exec"), module.__dict__)
    assert (check_dags() > 0) is makes_dags


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=_needed_by(path.read_text()))
        for path in sorted((ROOT / "example_dags").glob("*.py"))
    ],
)
def test_example_dags(path: Path, module: ModuleType) -> None:
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    assert check_dags() > 0


@of("{literalinclude}", "{include}")
def test_what_is_included_exists(page: Path, line: int, text: str) -> None:
    info = page.read_text().splitlines()[line - 1]
    assert (page.parent / info.split(maxsplit=1)[1]).exists()


@of("console")
def test_console(page: Path, line: int, text: str) -> None:
    commands = commands_of(text, prompt="$ ")
    assert commands
    for command in commands:
        check_command(command)


@of("sh", "bash")
def test_sh(page: Path, line: int, text: str) -> None:
    for command in commands_of(text):
        check_command(command)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["make", "nothing"], "no target"),
        (["airflow", "connections", "invent", "x"], "airflow"),
        (["python", "-m", "airflow_provider_nenoa.nothing"], "no module"),
        (["python", "-m", "airflow_provider_nenoa.emulator", "--prot", "1"], "--prot"),
        (["pip", "install", "airflow-provider-nenoa[invented]"], "invented"),
        (["export", "AIRFLOW__NENOA__WEBHOOK_URL=x"], "webhook_url"),
        (["export", 'AIRFLOW_CONN_X={"conn_type": "invented"}'], "invented"),
        (["uvicorn", "airflow_provider_nenoa.webhooks.app:nothing"], "nothing"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: list[str], why: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(why)):
        check_command(command)


@of("json")
def test_json(page: Path, line: int, text: str) -> None:
    assert json.loads(text)


@of("ini")
def test_ini(page: Path, line: int, text: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    ours = get_provider_info()["config"]
    for section in parser.sections():
        for option in parser[section]:
            known = ours[section]["options"] if section in ours else conf.configuration_description[section]["options"]
            assert option in known, f"[{section}] {option}"


@of("yaml")
def test_yaml(page: Path, line: int, text: str) -> None:
    assert yaml.safe_load(text)


def test_each_gauge_is_mapped_where_there_are_no_tags() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text()
    gauges = re.findall(r"^\| `(nenoa\S+)` \| gauge", table, re.MULTILINE)
    assert len(gauges) > 2
    (mappings,) = [yaml.safe_load(text)["mappings"] for _, _, text in BLOCKS["yaml"] if text.startswith("mappings:")]
    by_match = {mapping["match"]: mapping for mapping in mappings}
    for gauge in gauges:
        assert by_match.pop(f"airflow.{gauge}.*")["name"] == f"airflow.{gauge}".replace(".", "_")
        assert by_match.pop(f"airflow.{gauge}")["action"] == "drop"
    assert by_match == {}


def test_the_alerts_are_about_metrics_that_there_are() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `nenoa\.([\w.]+)` \|", table, re.MULTILINE))
    names = {f"airflow_nenoa_{name.replace('.', '_')}" for name in listed}
    used = set(re.findall(r"airflow_nenoa_\w+", (ROOT / "docs" / "alerts.md").read_text()))
    assert used
    assert used <= names
    for _, _, text in BLOCKS["yaml"]:
        for mapping in yaml.safe_load(text).get("mappings", ()):
            assert mapping["match"].removeprefix("airflow.nenoa.").removesuffix(".*") in listed
    text_of_the_code = "".join(path.read_text() for path in (ROOT / "airflow_provider_nenoa").rglob("*.py"))
    for name in listed:
        assert f'"{name}"' in text_of_the_code or f'"{name.partition(".")[2]}"' in text_of_the_code, name


@of("nginx")
def test_nginx(page: Path, line: int, text: str) -> None:
    assert text.count("{") == text.count("}")
    statements = [part.strip() for part in re.split(r"[;{}]", text) if part.strip()]
    locations = [part.split()[-1] for part in statements if part.startswith("location")]
    assert f"{PREFIX}/webhooks/" in locations
    assert set(locations) <= {"/", f"{PREFIX}/webhooks/", f"{PREFIX}/health"}


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r"^([\w-]+)$", "".join(text for _, _, text in BLOCKS["{toctree}"]), re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in (ROOT / "docs").glob("*.md") if page.stem != "index")


class TestReadme:
    """It is read in a package index, where nothing else of the repository is."""

    text = (ROOT / "README.md").read_text()
    documentation = re.findall(r'^Documentation = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]

    def test_links_are_absolute(self) -> None:
        links = re.findall(r"\]\(([^)]*)\)", self.text)
        assert links
        assert [link for link in links if not link.startswith("https://")] == []

    def test_linked_pages_exist(self) -> None:
        pages = re.findall(rf"{re.escape(self.documentation)}/page/([\w/.-]+)", self.text)
        assert pages
        for page in pages:
            is_picture = page.startswith("_images/")
            place = f"docs/pictures/{page[8:]}" if is_picture else f"docs/{page.removesuffix('.html')}.md"
            assert (ROOT / place).exists(), page

    def test_installing_comes_before_cloning(self) -> None:
        assert 0 < self.text.index("$ pip install airflow-provider-nenoa") < self.text.index("$ make demo")

    def test_all_operators_are_named(self) -> None:
        for kind in ("operators", "sensors"):
            for module in (name for entry in get_provider_info()[kind] for name in entry["python-modules"]):
                for name in public_classes(module, "Operator" if kind == "operators" else "Sensor"):
                    assert f"`{name}`" in self.text


def public_classes(module: str, suffix: str) -> list[str]:
    """The classes of a module that DAGs use, by the end of their name."""
    loaded = importlib.import_module(module)
    bases = ("BaseOperator", "BaseSensorOperator", "RunOperator", "RunSensor", "OpenAnalystRunOperator")
    names = getattr(loaded, "__all__", None) or [name for name in vars(loaded) if not name.startswith("_")]
    return [name for name in names if name.endswith(suffix) and name not in bases]


@pytest.fixture(scope="module")
def extension() -> ModuleType:
    """The Sphinx extension that makes the tables."""
    path = ROOT / "docs" / "_ext" / "nenoa_reference.py"
    spec = importlib.util.spec_from_file_location("nenoa_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestReference:
    """The tables are made by ``docs/_ext``; here, that nothing is missing in them."""

    def classes(self) -> list[type]:
        info = get_provider_info()
        return [
            getattr(importlib.import_module(module), name)
            for kind, suffix in (("operators", "Operator"), ("sensors", "Sensor"))
            for entry in info[kind]
            for module in entry["python-modules"]
            for name in public_classes(module, suffix)
        ]

    def test_each_operator_and_sensor_has_its_table(self) -> None:
        text = "".join(page.read_text() for page in PAGES)
        for cls in self.classes():
            assert re.search(rf"^\.\. parameters:: \S+\.{cls.__name__}$", text, re.MULTILINE), cls.__name__

    def test_each_parameter_is_described(self, extension: ModuleType) -> None:
        for cls in self.classes():
            found = extension.parameters(cls)
            assert found
            assert all(entry["text"] for entry in found), cls.__name__

    def test_templated_is_said_of_what_is_templated(self, extension: ModuleType) -> None:
        for cls in self.classes():
            said = {entry["name"] for entry in extension.parameters(cls) if "(templated)" in entry["text"]}
            assert said == set(cls.template_fields), cls.__name__  # type: ignore[attr-defined]

    def test_inherited_parameters_are_in_the_table(self, extension: ModuleType) -> None:
        class Base:
            """:param given: By the base."""

            def __init__(self, given: int = 1, **kwargs: object) -> None: ...

        class Derived(Base):
            """
            Does it.

            :param own: Its own,
                on two lines.
            """

            def __init__(self, own: str, **kwargs: object) -> None: ...

        Base.__module__ = Derived.__module__ = "airflow_provider_nenoa.test"
        assert [(entry["name"], entry["default"], entry["text"]) for entry in extension.parameters(Derived)] == [
            ("own", None, "Its own, on two lines."),
            ("given", "1", "By the base."),
        ]

    def test_an_undescribed_parameter_is_an_error(self, extension: ModuleType) -> None:
        class Silent:
            """Says nothing."""

            def __init__(self, secret_of: str) -> None: ...

        Silent.__module__ = "airflow_provider_nenoa.test"
        with pytest.raises(LookupError, match="secret_of"):
            extension.parameters(Silent)

    def test_each_field_of_a_connection_is_in_its_table(self, extension: ModuleType) -> None:
        for entry in get_provider_info()["connection-types"]:
            names = {name for name, *_ in extension.fields(entry["connection-type"])}
            assert names >= {"password", "host", *entry["conn-fields"]}
            assert not names & set(entry["ui-field-behaviour"]["hidden-fields"])

    def test_what_a_module_exports_from_others_is_seen_by_autodoc(
        self, extension: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lazy = ModuleType("lazy")
        lazy.__all__ = ["Later"]  # type: ignore[attr-defined]
        lazy.__getattr__ = {"Later": int}.__getitem__  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, "lazy", lazy)
        extension.load("lazy")
        assert "Later" in dir(lazy)

    def test_each_module_is_in_the_api_reference(self) -> None:
        text = "".join(page.read_text() for page in (ROOT / "docs").glob("api-*.md"))
        documented = set(re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE))
        told = {
            module
            for kind in ("hooks", "operators", "sensors", "triggers")
            for entry in get_provider_info()[kind]
            for module in entry["python-modules"]
        }
        assert told <= documented


def messages() -> str:
    """All texts in the code, with `…` for what is put into them."""
    texts: list[str] = []
    for path in (ROOT / "airflow_provider_nenoa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(str(part) for part in parts))
    return "\n\n".join(texts)


def test_the_messages_in_troubleshooting_are_the_code_s() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## By error message")[2]
    quoted = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    assert len(quoted) > 20
    said = messages()
    assert [message for message in quoted if message not in said] == []


KIB, MIB, GIB = 1024, 1024**2, 1024**3


def test_the_bounds_that_pages_name_are_the_code_s() -> None:
    told = {
        "threat-model": [
            f"| {connections.THREADS} at a time, {connections.CROWD} waiting, ",
            f"read again after {connections.REMEMBER:g} s; good for {connections.KEEP / 60:g} minutes",
            "| {:g} s after arrival; for ten minutes after a slow look-up {:g} or {:g} s".format(
                *refusals.REFUSAL_TIMES
            ),
            f"| headers and URL | {bodies.MAX_HEAD / KIB:g} KiB (431)",
            f"| a body | {bodies.MAX_BODY / MIB:g} MiB (413), {bodies.TIME:g} s (408) |",
            f"| {bodies.BYTES / MIB:g} MiB in a process, {bodies.BYTES_OF_ONE / MIB:g} MiB for one connection's name",
            f"| {floods.EVENTS.at_once:,.0f} at once and {floods.EVENTS.a_second:g} a second, ",
            f", {floods.BYTES.at_once / MIB:g} MiB at once and {floods.BYTES.a_second / MIB:g} MiB a second, ",
            f", {floods.ROWS.at_once:,.0f} new rows at once and {floods.ROWS.a_second:g} a second, ",
            f"| {writer.QUEUE:,} webhooks and {writer.QUEUE_BYTES / MIB:g} MiB of one connection, ",
            f", {writer.QUEUE_BYTES_IN_ALL / MIB:g} MiB in all (503)",
            f"| {polls.MAX_WAITING} of one connection, {polls.MAX_WAITING_IN_ALL:,} in a process (429)",
            f", rows {store.TOMBSTONE_DAYS:g} days later",
        ],
        "webhooks": [
            f"a body of more than {bodies.MAX_BODY / MIB:g} MiB; headers of more than {bodies.MAX_HEAD / KIB:g} KiB",
            f"must be above {read_api.MAX_WAIT:g} s.",
        ],
        "files": [
            f"more than {archive.MAX_RATIO} times its own size (above {archive.HARMLESS / MIB:g} MiB)",
            f"if it is smaller than {storage.PART_SIZE / MIB:g} MiB, and neither copied",
            f"(default {payload_files.MAX_FILES:,}) files, and no file larger than `max_file_size` (default "
            f"{download.MAX_FILE_SIZE / GIB:g} GiB) bytes",
        ],
        "metrics": [f"Runs that are waited for. Every {channel.REPORT_INTERVAL:g} s, "],
        "retries": [f"and 429 while asking | the request itself | {repeating.RETRY_FOR / 60:g} minutes |"],
        "page": [
            f"after the first {report.INTERVAL:g} seconds of a wait",
            f"forgotten after {waits.KEEP / 60:g} minutes without",
        ],
        "waiting": [
            f"from `poll_interval` ({base.POLL_INTERVAL:g} s) to",
            f"(default {base.TIMEOUT / 3600:g} hours) bounds",
        ],
    }
    assert refusals.SLOW_FOR == 10 * 60, "threat-model: ten minutes"
    for page, texts in told.items():
        said = " ".join((ROOT / "docs" / f"{page}.md").read_text().split())
        assert [text for text in texts if text not in said] == [], page
