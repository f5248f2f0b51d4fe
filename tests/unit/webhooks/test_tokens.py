from __future__ import annotations

import time
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_nenoa.webhooks.tokens import LIFETIME, SKEW, issue, verify

SECRET = "a secret that is long enough for every library and algorithm"


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_token_opens_its_own_connection_with_its_own_secret_only(conn_id: str, secret: str) -> None:
    token = issue(conn_id, secret)
    assert verify(token, conn_id, secret)
    assert not verify(token, conn_id + "x", secret)
    assert not verify(token, conn_id, secret + "x")


def test_each_of_two_secrets_opens() -> None:
    for secret, opens in (("new", True), ("old", True), ("older", False)):
        assert verify(issue("conn", secret), "conn", ["new", "old"]) is opens
    assert not verify(issue("conn", ""), "conn", [])


@given(st.text())
def test_any_other_text_is_refused_and_never_raises(token: str) -> None:
    assert not verify(token, "conn", SECRET)


ODD = st.none() | st.integers() | st.text()
SOON = st.integers(-100, 2 * (LIFETIME + SKEW)).map(lambda seconds: int(time.time()) + seconds)
CLAIMS = st.fixed_dictionaries(
    {"aud": st.sampled_from(["conn", "con", "conn ", ["conn"], ["other"]]), "exp": SOON | SOON.map(str) | ODD},
    optional={"nbf": ODD, "iat": ODD, "x": ODD},
)


@given(CLAIMS | st.dictionaries(st.sampled_from(["aud", "exp", "nbf", "iat", "x"]), ODD))
@example({"aud": "conn", "exp": time.time() + LIFETIME})
def test_claims_of_every_kind_never_raise(claims: dict[str, Any]) -> None:
    try:
        token = jwt.encode(claims, SECRET, algorithm="HS256")
    except (TypeError, ValueError):
        return
    if verify(token, "conn", SECRET):
        assert claims["aud"] in ("conn", ["conn"])
        assert time.time() - 1 < int(claims["exp"]) <= time.time() + LIFETIME + SKEW


@pytest.mark.parametrize("secret", ["x", "ü" * 20, "x" * 31, "x" * 64, "x" * 65, "long " * 100])
def test_the_secret_is_the_key_as_it_stands_and_no_length_of_it_is_warned_of(secret: str) -> None:
    claims = {"aud": "conn", "exp": time.time() + 30}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_another_library = jwt.encode(claims, secret, algorithm="HS256")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify(by_another_library, "conn", secret)
        token = issue("conn", secret)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = jwt.decode(token, secret, algorithms=["HS256"], audience="conn")
    assert 0 < read["exp"] - time.time() <= LIFETIME


@pytest.mark.parametrize(
    ("claims", "key", "algorithm"),
    [
        ({"aud": "conn", "exp": -1}, SECRET, "HS256"),
        ({"aud": "other", "exp": 30}, SECRET, "HS256"),
        ({"exp": 30}, SECRET, "HS256"),
        ({"aud": "conn"}, SECRET, "HS256"),
        ({"aud": "conn", "exp": 30}, SECRET + "!", "HS256"),
        ({"aud": "conn", "exp": LIFETIME + SKEW + 5}, SECRET, "HS256"),
        ({"aud": "conn", "exp": 10**9}, SECRET, "HS256"),
        ({"aud": "conn", "exp": 30}, SECRET, "HS384"),
        ({"aud": "conn", "exp": 30}, "", "none"),
    ],
    ids=[
        "expired",
        "other audience",
        "no audience",
        "never expires",
        "other key",
        "lives too long",
        "lives for ever",
        "other algorithm",
        "none",
    ],
)
def test_wrong_tokens_are_refused(claims: dict[str, Any], key: str, algorithm: str) -> None:
    if "exp" in claims:
        claims = {**claims, "exp": time.time() + claims["exp"]}
    assert not verify(jwt.encode(claims, key, algorithm=algorithm), "conn", SECRET)
    if claims == {"aud": "conn"}:  # the same claims, complete, are accepted: nothing else was wrong
        assert verify(jwt.encode({**claims, "exp": time.time() + 30}, key), "conn", SECRET)
