"""The body of an error, in the forms that the vendors' pages show."""

from __future__ import annotations

from typing import Any, NamedTuple

_DEEPEST = 8  # levels of lists and objects that are read for words


class ErrorWords(NamedTuple):
    """
    A vendor's words about a refused request.

    :param code: A word for machines, such as ``DATASET_NOT_FOUND``.
    :param message: A sentence for people.
    :param request_id: What the vendor's support will ask for.
    """

    code: str | None = None
    message: str | None = None
    request_id: str | None = None


def read_error(body: Any) -> ErrorWords | None:
    """
    Read an error's body, in every form that a page shows or that frameworks send by themselves.

    ``{"error", "message"}`` (NenAI), ``{"error": {"code", "message"}}`` (OpenAnalyst), ``{"detail"}``,
    ``{"errors": [...]}``, and the problem details of RFC 9457 (``type``, ``title``, ``detail``).

    :param body: The JSON value.
    :return: What it says; None if it has none of these, but something else.
    """
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    code = inner.get("code") or (None if isinstance(error, dict) else error) or _problem_type(body)
    parts = [inner.get("message"), inner.get("title"), inner.get("detail"), inner.get("error_description")]
    parts += [body.get("errors"), inner.get("errors") if inner is not body else None]
    said = dict.fromkeys(text for part in parts if (text := _text(part)))  # a framework may say it twice
    request_id = body.get("request_id") or inner.get("request_id") or body.get("requestId")
    words = ErrorWords(_text(code), ": ".join(said) or None, _text(request_id))
    return words if words.code or words.message or not any(_text(each) for each in body.values()) else None


def _problem_type(body: dict[str, Any]) -> Any:
    """Return the type of an RFC 9457 problem, which names one only if it is not ``about:blank``."""
    kind = body.get("type")
    return kind if "title" in body and kind != "about:blank" else None


def _text(part: Any, depth: int = 0) -> str | None:
    """Return a text as it is, the entries of a list one after the other, and the words of an entry with its place."""
    if depth > _DEEPEST:
        return "..."
    if isinstance(part, list):
        return "; ".join(text for each in part if (text := _text(each, depth + 1))) or None
    if isinstance(part, dict):
        return _entry(part, depth)
    return None if part is None or part is False or part == "" else str(part)


def _entry(entry: dict[str, Any], depth: int) -> str | None:
    """Read one entry of a list of errors: its words, after what they are about."""
    words = [entry.get(name) for name in ("code", "title", "message", "msg", "detail", "reason")]
    said = ": ".join(dict.fromkeys(str(each) for each in words if isinstance(each, (str, int)) and each != ""))
    if not said:  # such as {"field": ["may not be empty"]}
        pairs = ((name, _text(each, depth + 1)) for name, each in entry.items())
        return "; ".join(f"{name}: {text}" for name, text in pairs if text) or None
    places = (entry.get(name) for name in ("loc", "field", "pointer", "param", "source"))
    place = next((each for each in places if each), None)
    if isinstance(place, dict):
        place = place.get("pointer") or place.get("parameter")
    if isinstance(place, list):
        place = ".".join(str(each) for each in place if isinstance(each, (str, int)))
    return f"{place}: {said}" if isinstance(place, str) and place else said
