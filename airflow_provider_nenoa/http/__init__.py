"""
All that both vendors' hooks share about HTTP: sessions, time-outs, retries, ``Retry-After`` and error bodies.

Two rules shape this room. A GET may be repeated freely. A request that starts or changes something is repeated only
when the vendor surely did not act on it: no byte of it left this machine, 429, or 503 with ``Retry-After``. Whatever
else goes wrong is `StartOutcomeUnknown`, never a second request. Whether a byte left is a fact that `wire` knows.
"""

from airflow_provider_nenoa.http.addresses import base_url_of, check_base_url, is_loopback
from airflow_provider_nenoa.http.api import ApiKeyAuth, HttpApi
from airflow_provider_nenoa.http.reasons import reason_of
from airflow_provider_nenoa.http.repeating import RETRY_FOR
from airflow_provider_nenoa.http.replies import retry_after_seconds
from airflow_provider_nenoa.http.session import CONNECT_TIMEOUT, Session
from airflow_provider_nenoa.http.turns import Turn

__all__ = [
    "CONNECT_TIMEOUT",
    "RETRY_FOR",
    "ApiKeyAuth",
    "HttpApi",
    "Session",
    "Turn",
    "base_url_of",
    "check_base_url",
    "is_loopback",
    "reason_of",
    "retry_after_seconds",
]
