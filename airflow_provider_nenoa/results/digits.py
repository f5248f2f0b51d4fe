"""Whether a float would change numbers of a JSON text, looked at by the thousand; pyarrow is loaded for it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation

import pyarrow
from pyarrow import compute, csv, types

from airflow_provider_nenoa.results.scanner import oddities

_SAFE = 15
"""Characters of a number without a large exponent that every float keeps."""
_TOKENS = bytes(code if chr(code) in "0123456789.eE+-" else ord("\n") for code in range(256))
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def has_floats(kind: pyarrow.DataType) -> bool:
    """Whether there are floats in a type."""
    return types.is_floating(kind) or any(has_floats(kind.field(index).type) for index in range(kind.num_fields))


def keeps_digits(raw: bytes, rows: pyarrow.RecordBatch) -> bool:
    """
    Whether all numbers of some rows are in their columns as they were sent.

    :param raw: The rows' JSON text.
    :param rows: What pyarrow has read from it; of NaN and Infinity, too, which are no JSON, it makes floats.
    :return: False also where it cannot be told.
    """
    if (b"NaN" in raw or b"Infinity" in raw) and not all(map(_is_finite, rows.columns)):
        return False
    is_long, extreme = oddities(raw)
    if not (is_long or extreme):
        return True
    tokens = _candidates(raw, extreme)
    # Whole numbers are no floats: if the columns of them have as many long ones as the text, all of its are there.
    fractions = compute.match_substring_regex(tokens, r"[.eE]")
    whole = len(tokens) - (compute.sum(fractions).as_py() or 0)
    if whole and whole == sum(map(_long_whole_numbers, rows.columns)):
        tokens = tokens.filter(fractions)
    doubtful = _doubtful(tokens)
    if not doubtful:
        return True
    # What a float would change may stand in texts and whole numbers, which are no floats; a text with an escape is not
    # in its column as it is in the JSON.
    kinds = (types.is_string,) if len(tokens) == len(fractions) - whole else (types.is_string, types.is_integer)
    parts = [] if b"\\" in raw else [part for column in rows.columns for part in _leaves(column, kinds)]
    elsewhere = [_doubtful_in("\n".join(part.to_pylist()).encode()) for part in parts]
    if len(doubtful) == sum(map(len, elsewhere)):
        return True
    return _changed(doubtful) == sum(map(_changed, elsewhere))


def _is_finite(values: pyarrow.Array) -> bool:
    """Whether all floats in a column are finite."""
    if types.is_struct(values.type) or types.is_list(values.type):
        parts = values.flatten()
        return all(map(_is_finite, parts if isinstance(parts, list) else [parts]))
    return not types.is_floating(values.type) or compute.all(compute.is_finite(values)).as_py() is not False


def _candidates(text: bytes, extreme: bool) -> pyarrow.Array:
    """Return the numbers that may need a second look, also those within texts."""
    table = csv.read_csv(
        pyarrow.py_buffer(text.translate(_TOKENS)),
        csv.ReadOptions(use_threads=False, block_size=len(text) + 64, column_names=["number"]),
        csv.ParseOptions(delimiter="|", quote_char=False),
        csv.ConvertOptions(check_utf8=False, column_types={"number": pyarrow.string()}),
    )
    tokens = table["number"].combine_chunks()
    candidates = _are_long(tokens)
    if extreme:
        candidates = compute.or_(candidates, compute.match_substring(tokens, "e", ignore_case=True))
    return tokens.filter(candidates)


def _are_long(texts: pyarrow.Array) -> pyarrow.Array:
    # Of a value of Python's, pyarrow would make a scalar only after having loaded pandas.
    safe = pyarrow.Array.from_buffers(
        pyarrow.int32(), len(texts), [None, pyarrow.py_buffer(array("i", [_SAFE]) * len(texts))]
    )
    return compute.greater(compute.binary_length(texts), safe)


def _long_whole_numbers(values: pyarrow.Array) -> int:
    """Count the numbers in a column of whole numbers, or in those within it, that `_candidates` would return."""
    return sum(compute.sum(_are_long(part)).as_py() or 0 for part in _leaves(values, (types.is_integer,)))


def _doubtful_in(text: bytes) -> list[str]:
    is_long, extreme = oddities(text)
    return _doubtful(_candidates(text, extreme)) if is_long or extreme else []


def _doubtful(tokens: pyarrow.Array) -> list[str]:
    """Return the numbers that a float would write in another way."""
    try:
        shortest = _shortest(tokens)
    except pyarrow.ArrowInvalid:
        tokens = tokens.filter(compute.match_substring_regex(tokens, _NUMBER))
        shortest = _shortest(tokens)
    others = tokens.filter(compute.not_equal(tokens, shortest))
    # Python writes an exponent of two digits at least.
    others = others.filter(compute.not_equal(compute.replace_substring(others, "e-0", "e-"), _shortest(others)))
    return [number for number in others.to_pylist() if not ("e" in number and _is_kept(number))]


def _shortest(numbers: pyarrow.Array) -> pyarrow.Array:
    return numbers.cast(pyarrow.float64()).cast(pyarrow.string())


def _changed(numbers: list[str]) -> int:
    """Count the numbers that a float would change."""
    return sum(not _is_kept(number) for number in numbers)


def _is_kept(text: str) -> bool:
    number = float(text)
    try:
        return math.isfinite(number) and Decimal(repr(number)) == Decimal(text)
    except InvalidOperation:  # an exponent with more digits than anything has
        return False


def _leaves(values: pyarrow.Array, kinds: Sequence[Callable[[pyarrow.DataType], bool]]) -> Iterator[pyarrow.Array]:
    """Yield what a column has of some kinds, as text."""
    if types.is_struct(values.type) or types.is_list(values.type):
        parts = values.flatten()
        for part in parts if isinstance(parts, list) else [parts]:
            yield from _leaves(part, kinds)
    elif any(is_kind(values.type) for is_kind in kinds):
        yield values.drop_null().cast(pyarrow.string())
