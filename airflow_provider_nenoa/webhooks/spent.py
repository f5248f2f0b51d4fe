"""What is known of a plan's requests, in the form in which whoever polls tells the receiver of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

PERIODS = {60: "minute", 86_400: "day"}
"""The periods that a plan has a limit for, by their seconds."""


@dataclass(frozen=True)
class Spent:
    """
    The requests of one period that ends now.

    :param seconds: How long the period is: one of `PERIODS`.
    :param requests: How many were sent, by whomever.
    :param limit: How many the vendor allows.
    """

    seconds: int
    requests: int
    limit: int

    @classmethod
    def from_json(cls, body: Any) -> Self:
        """
        Read what `to_json` wrote.

        :raises ValueError: It is none.
        """
        if not isinstance(body, dict):
            raise ValueError("it is an object")
        spent = cls(*(body[each.name] for each in fields(cls)))
        if spent.seconds not in PERIODS or not all(
            type(number) is int and 0 <= number < 2**53 for number in asdict(spent).values()
        ):
            raise ValueError("a field is none")
        return spent

    def to_json(self) -> dict[str, int]:
        """Return it as it is sent."""
        return asdict(self)
