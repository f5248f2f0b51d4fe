"""
Tables of the reference, made from the code when the documentation is built. Directives, for ``eval-rst`` blocks:

``.. parameters:: module.Class``: what a class does, and all of its parameters, from signature and docstring.
``.. connection-fields:: nenai``: the fields of a connection type, from the provider's metadata.
``.. configuration::``: the options in Airflow's configuration, from the provider's metadata.
``.. modules:: package``: the API reference of all modules of a package.
``.. plans::``: OpenAnalyst's plans, with their limits.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from airflow_provider_nenoa.get_provider_info import connection_type, get_provider_info
from airflow_provider_nenoa.vendors.openanalyst import PLANS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

ROOMS = (
    "decorators",
    "emulator",
    "exceptions",
    "hooks",
    "notifications",
    "operators",
    "retries",
    "sensors",
    "triggers",
    "vendors",
)
"""What the API reference is made of."""

_PARAM = re.compile(r":param (\w+):")
_FIELD = re.compile(r":(param|return|returns|raise|raises)\b")


def described(docstring: str) -> dict[str, str]:
    """Return the description of each parameter that a docstring has, on one line."""
    found: dict[str, str] = {}
    name = None
    for line in inspect.cleandoc(docstring).splitlines():
        if match := _PARAM.match(line):
            name = match[1]
            found[name] = line[match.end() :].strip()
        elif name is not None and line.startswith(" "):
            found[name] += " " + line.strip()
        else:
            name = None
    return found


def introduction(docstring: str) -> list[str]:
    """Return the lines of a docstring before its fields."""
    lines = inspect.cleandoc(docstring).splitlines()
    end = next((number for number, line in enumerate(lines) if _FIELD.match(line)), len(lines))
    return lines[:end]


def parameters(cls: type) -> list[dict[str, Any]]:
    """
    Return the parameters of a class, its own before those that all of its kind have.

    :raises LookupError: One of them is described neither in the class nor in one of its bases.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("airflow_provider_nenoa.") and base.__doc__:
            texts |= described(base.__doc__)
    found: dict[str, dict[str, Any]] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or not base.__module__.startswith("airflow_provider_nenoa."):
            continue
        signature = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        for parameter in signature:
            if parameter.name in ("self", *found) or parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            ):
                continue
            if parameter.name not in texts:
                raise LookupError(f"{cls.__name__} does not say what its parameter {parameter.name!r} is")
            annotation = parameter.annotation
            found[parameter.name] = {
                "name": parameter.name,
                "type": "" if annotation is parameter.empty else str(annotation),
                "default": None if parameter.default is parameter.empty else repr(parameter.default),
                "text": texts[parameter.name],
            }
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
            break  # it hands nothing on to its bases
    return list(found.values())


def fields(conn_type: str) -> list[tuple[str, str, str, str]]:
    """Return, for each field of a connection type: its name, its label, what it may be, and what it is for."""
    entry = connection_type(conn_type)
    behaviour = entry["ui-field-behaviour"]
    labels, placeholders = behaviour["relabeling"], behaviour["placeholders"]
    rows = []
    for name in ("password", "host", "port", "schema", "login"):
        if name not in behaviour["hidden-fields"]:
            said = "default" if name == "host" else "for example"  # the form shows the default where none is given
            example = f"{said} ``{placeholders[name]}``" if name in placeholders and name != "port" else ""
            text = placeholders["port"] + "." if name == "port" else ""
            rows.append((name, labels.get(name, name.capitalize()), example, text))
    for name, field in entry["conn-fields"].items():
        schema = field["schema"]
        kinds = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        what = ", ".join(f"``{word}``" for word in schema.get("enum", ())) or " or ".join(
            kinds[kind] for kind in types if kind != "null"
        )
        if schema.get("format") == "password":
            what += ", secret"
        if "default" in schema:
            what += f"; default ``{schema['default']}``"
        rows.append((name, field["label"], what, field.get("description", "")))
    return rows


def table(header: Iterable[str], rows: Iterable[Iterable[str]], widths: str) -> list[str]:
    """Return a table as lines of reST; a cell is one line of reST."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {cell}")
    return [*lines, ""]


class _FromCode(SphinxDirective):
    """A directive whose content is made as reST."""

    def parsed(self, lines: list[str], source: str) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source), self.content_offset, container)
        return container.children


class Parameters(_FromCode):
    """What a class does, and its parameters."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        cls = getattr(import_module(module), name)
        self.env.note_dependency(str(inspect.getsourcefile(cls)))
        rows = []
        for entry in parameters(cls):
            default = "required" if entry["default"] is None else f"``{entry['default']}``"
            rows.append((f"``{entry['name']}``", f"``{entry['type']}``", default, entry["text"]))
        return self.parsed(
            [
                f"*In* ``{module}``.",
                "",
                *introduction(cls.__doc__ or ""),
                "",
                *table(("parameter", "type", "default", "meaning"), rows, "18 18 12 52"),
            ],
            self.arguments[0],
        )


class ConnectionFields(_FromCode):
    """The fields of a connection type."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        own = {"password", "host", "port", "schema", "login"}
        rows = [
            (f"``{name}``" + ("" if name in own else " (extra)"), label, what, text)
            for name, label, what, text in fields(self.arguments[0])
        ]
        return self.parsed(table(("field", "label in the form", "value", "meaning"), rows, "20 18 22 40"), "metadata")


class Configuration(_FromCode):
    """The options in Airflow's configuration."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for section, content in get_provider_info()["config"].items():
            lines += [content["description"], ""]
            rows = []
            for name, option in content["options"].items():
                default = "none" if option["default"] is None else f"``{option['default']}``"
                example = f"``{option['example']}``" if option.get("example") else ""
                variable = f"AIRFLOW__{section}__{name}".upper()
                rows.append((f"``[{section}] {name}``", default, f"{option['description']} ``{variable}``", example))
            lines += table(("option", "default", "meaning, environment variable", "example"), rows, "22 10 44 24")
        return self.parsed(lines, "metadata")


class Modules(_FromCode):
    """The API reference of all modules of a room."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        room = import_module(self.arguments[0])
        lines: list[str] = []
        for module in walk_packages(room.__path__, f"{room.__name__}."):
            title = module.name.partition(".")[2]
            lines += [f".. rubric:: ``{title}``", "", f".. automodule:: {module.name}", ""]
        return self.parsed(lines, self.arguments[0])


class Plans(_FromCode):
    """OpenAnalyst's plans."""

    def run(self) -> list[nodes.Node]:
        rows = [(f"``{plan}``", f"{minute:,}", f"{day:,}") for plan, (minute, day) in PLANS.items()]
        return self.parsed(table(("plan", "requests a minute", "requests a day"), rows, "34 33 33"), "plans")


def load(name: str) -> None:
    """Import a module, with what it exports from others when it is asked for: autodoc sees only what is there."""
    module = import_module(name)
    vars(module).update({each: getattr(module, each) for each in getattr(module, "__all__", ())})


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    # Before autodoc does it, which pretends to be a type checker meanwhile: pydantic cannot bear that.
    for room in ROOMS:
        place = import_module(f"airflow_provider_nenoa.{room}")
        for module in walk_packages(getattr(place, "__path__", ()), f"{place.__name__}."):
            if not module.name.endswith("__main__"):
                load(module.name)
    app.add_directive("parameters", Parameters)
    app.add_directive("connection-fields", ConnectionFields)
    app.add_directive("configuration", Configuration)
    app.add_directive("modules", Modules)
    app.add_directive("plans", Plans)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
