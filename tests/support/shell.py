"""Commands of the documentation: take them apart, and see that what they call exists, without running them."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import re
import shlex
import tomllib
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from airflow.configuration import conf

from airflow_provider_nenoa.get_provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
NAME = "airflow-provider-nenoa"
ELSEWHERE = {"openlineage": {"options": {"transport"}}}
"""Options of other providers, which need not be installed."""


def commands_of(text: str, prompt: str = "") -> list[list[str]]:
    """
    Return the words of each command in a block.

    :param prompt: What each command begins with; lines without it are what the command before goes on with.
    """
    commands: list[list[str]] = []
    open_lines = ""
    for line in text.splitlines():
        if not open_lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            assert line.startswith(prompt), f"{line!r} does not begin with the prompt"
            line = line.removeprefix(prompt)
        if line.endswith("\\"):
            open_lines += line.removesuffix("\\")
            continue
        open_lines += line + "\n"
        try:
            words = shlex.split(open_lines, comments=True)
        except ValueError:  # a quotation that goes on
            continue
        commands.append(words)
        open_lines = ""
    assert not open_lines, f"{open_lines!r} does not end"
    return commands


def check_command(words: Sequence[str]) -> None:
    """
    See that a command exists, with its options.

    :raises AssertionError: It does not, or nobody knows it here.
    """
    words = [word for word in words if word != "&"]
    check = _CHECKS.get(words[0])
    assert check is not None, f"{words[0]}: nobody checks this command"
    check(list(words[1:]))


def _make(words: list[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    for word in words:
        if "=" in word:
            assert re.search(rf"\b{word.partition('=')[0]}\b", text), f"make: no variable {word}"
        else:
            assert re.search(rf"^{re.escape(word)}:", text, re.MULTILINE), f"make: no target {word}"


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words[1:]:
        match = re.fullmatch(r"([\w-]+)(?:\[([\w,]+)\])?", word)
        assert match is not None, word
        if match[1] == NAME:
            for extra in (match[2] or "").split(","):
                assert not extra or extra in extras, f"pip: no extra {extra}"


def _python(words: list[str]) -> None:
    assert words[0] == "-m"
    module, options = words[1], words[2:]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    assert found is not None, f"python -m: no module {module}"
    source = Path(str(found.origin))
    if found.submodule_search_locations:
        source = source.with_name("__main__.py")
    text = source.read_text()
    assert "__main__" in text, f"python -m: {module} is no program"
    for option in options:
        assert not option.startswith("--") or f'"{option}"' in text, f"{module} has no option {option}"


@cache
def _airflow_parser() -> Any:
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def _airflow(words: list[str]) -> None:
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            _airflow_parser().parse_args(words)
    except SystemExit as error:
        raise AssertionError(f"airflow {shlex.join(words)}: {said.getvalue()[-300:]}") from error


def _export(words: list[str]) -> None:
    for word in words:
        name, _, value = word.partition("=")
        if name.startswith("AIRFLOW_CONN_"):
            connection = json.loads(value)
            types = {entry["connection-type"] for entry in get_provider_info()["connection-types"]}
            assert connection["conn_type"] in types, f"no connection type {connection['conn_type']}"
            fields = next(
                entry["conn-fields"]
                for entry in get_provider_info()["connection-types"]
                if entry["connection-type"] == connection["conn_type"]
            )
            assert set(connection.get("extra", {})) <= set(fields), connection
        elif name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            known = {**conf.configuration_description, **ELSEWHERE, **get_provider_info()["config"]}[section]
            assert option in known["options"], f"[{section}] has no option {option}"
        else:
            assert name in ("AIRFLOW_HOME", "PYTHONPATH"), f"export: what is {name}?"


def _uvicorn(words: list[str]) -> None:
    import uvicorn

    module, _, attribute = words[0].partition(":")
    assert hasattr(importlib.import_module(module), attribute), f"uvicorn: no {attribute} in {module}"
    options = {option for parameter in uvicorn.main.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words[1:]:
        assert not word.startswith("--") or word in options, f"uvicorn has no option {word}"


def _pytest(words: list[str]) -> None:
    assert words


def _kill(words: list[str]) -> None:
    assert words == ["%1"]


_CHECKS = {
    "airflow": _airflow,
    "export": _export,
    "kill": _kill,
    "make": _make,
    "pip": _pip,
    "pytest": _pytest,
    "python": _python,
    "uvicorn": _uvicorn,
}
