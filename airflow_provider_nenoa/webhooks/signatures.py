"""
The vendors' webhook signatures: HMAC-SHA256 with the connection's webhook secret, over the raw request body.

A signature says who wrote the body only if it is checked over the very bytes that came: check first, parse then.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple


class Scheme(NamedTuple):
    """
    How one vendor writes its signature.

    :param header: The header's name.
    :param prefix: What the vendor puts before the hex digits.
    :param prefix_required: Whether a signature without the prefix is refused.
    """

    header: str
    prefix: str
    prefix_required: bool


SCHEMES: Mapping[str, Scheme] = {
    # NenAI docs: "X-Hmac-Signature: sha256=<hex>", lowercase.
    "nenai": Scheme("X-Hmac-Signature", "sha256=", prefix_required=True),
    # OpenAnalyst API page: "signed with X-OpenAnalyst-Signature". How it is written is not documented.
    "openanalyst": Scheme("X-OpenAnalyst-Signature", "sha256=", prefix_required=False),
}
"""One scheme per connection type."""


def sign(conn_type: str, secret: str, body: bytes) -> tuple[str, str]:
    """
    Sign a body as the vendor does, for tests and the self-test.

    :param conn_type: ``nenai`` or ``openanalyst``.
    :param secret: The webhook secret shared with the vendor.
    :param body: The raw request body.
    :return: The header's name and its value.
    """
    scheme = SCHEMES[conn_type]
    return scheme.header, scheme.prefix + _digest(secret, body)


def verify(conn_type: str, secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """
    Whether a body was signed with the secret. Never raises, whatever the headers say.

    :param conn_type: ``nenai`` or ``openanalyst``.
    :param secret: The webhook secret shared with the vendor.
    :param body: The raw request body, as it came.
    :param headers: The request's headers; looking one up must ignore case.
    """
    scheme = SCHEMES[conn_type]
    given = headers.get(scheme.header) or ""
    digits = given.removeprefix(scheme.prefix)
    well_formed = not scheme.prefix_required or digits != given
    # Compared as bytes: for text outside of ASCII, compare_digest raises.
    return hmac.compare_digest(_digest(secret, body).encode(), digits.encode("utf-8", "replace")) and well_formed


def _digest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
