"""What it means that a request could not be sent, or was sent and not answered."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa.exceptions import (
    CertificateRefused,
    ConnectionFailed,
    InvalidArgument,
    InvalidSetting,
    NenoaError,
)
from airflow_provider_nenoa.http.reasons import find, reason_of, refusal_of_proxy
from airflow_provider_nenoa.http.session import (
    CONNECT_TIMEOUT,
    Proxy,
    certificates,
    certificates_variable,
    proxy_of,
)
from airflow_provider_nenoa.http.wire import Passage, Step

_TIMED_OUT = ("it did not answer in time", "no connection in time")


def after_sending(error: BaseException, timeout: float) -> str:
    """Return why no answer came."""
    why = reason_of(error)
    return f"it did not answer in time ({timeout:g} s)" if why in _TIMED_OUT else why


def before_sending(
    error: BaseException,
    passage: Passage,
    url: str,
    what: str,
    vendor: str,
    address: str,
    scrub: Callable[[str], str],
) -> NenoaError:
    """
    Return the error for a request of which no byte went out.

    :param passage: How far it came.
    :param what: The request, in words.
    :param address: What of the Airflow connection has the address, in words.
    :return: `InvalidSetting` where one of this machine's settings is at fault, otherwise a `ConnectionFailed`.
    """
    proxy = proxy_of(url)
    setting = _setting_at_fault(error, passage, url, proxy)
    if setting is not None:
        return InvalidSetting(scrub(f"{setting}\nNothing was sent.\n({what} at {url})"))
    if type(error) in (ValueError, UnicodeEncodeError):  # of http.client; its text may have the header's value
        return InvalidArgument(f"{what} cannot be sent: a header has characters that HTTP cannot carry.")
    why = _why(error, passage)
    if proxy is not None and _is_at_the_proxy(passage, url, proxy):
        text = (
            f"No answer from the proxy {proxy.name} on the way to {vendor}: {why}.\nThe proxy is from the environment "
            f"variable {proxy.variable}: check it, or name {urlsplit(url).hostname} in NO_PROXY to go without it."
        )
        return ConnectionFailed(scrub(f"{text}\n({what} at {url})"))
    kind, advice = ConnectionFailed, f"Check {address}, and whether this machine can reach it."
    if (refused := certificate_refused(error)) is not None:
        kind, advice = CertificateRefused, f"Check {address}; {refused}."
    if proxy is not None:
        advice += f" The way to it is through the proxy {proxy.name} ({proxy.variable})."
    return kind(scrub(f"No answer from {vendor} to {what}: {why}.\n{advice}\n({url})"))


def certificate_refused(error: BaseException) -> str | None:
    """Say what to do where a server's certificate is not accepted, which no other try will change; None: it is."""
    if find(error, ssl.SSLCertVerificationError) is None:
        return None
    if (variable := certificates_variable()) is not None:
        return f"the certificates that {variable} names ({certificates()}) do not vouch for it"
    return "if it is from an authority of your own, name a file with its certificate in REQUESTS_CA_BUNDLE"


def certificates_at_fault(url: str) -> str | None:
    """Say why the certificates that the environment names cannot be used for a URL, and what to do; None: they can."""
    variable, path = certificates_variable(), certificates()
    if variable and path and urlsplit(url).scheme.lower() == "https" and (why := _unusable(path)):
        return f"The environment variable {variable} names {path}, {why}.\nLet it name a file of certificates (PEM)."
    return None


def refused_by_proxy(proxy: Proxy, error: BaseException, url: str) -> str | None:
    """Say that a proxy does not let through who asks, and what to do; None: that is not what happened."""
    status = refusal_of_proxy(error)
    if status not in (401, 403, 407):
        return None
    need = "user name and password belong before its host, with an @" if status != 403 else "or ask who runs it"
    return (
        f"The proxy {proxy.name} refused the way to {urlsplit(url).hostname}: {reason_of(error)}.\nIt is from the "
        f"environment variable {proxy.variable}: correct that, {need}."
    )


def proxy_at_fault(proxy: Proxy, error: BaseException) -> str:
    """Say that what the environment names cannot be used as a proxy, and what to do."""
    if proxy.socks and isinstance(error, requests.exceptions.InvalidSchema):
        return (
            f"The environment variable {proxy.variable} names a SOCKS proxy, and what speaks to one is not installed.\n"
            "pip install 'requests[socks]', or name a proxy like http://proxy.example.com:3128."
        )
    # The error's text could repeat the proxy's password.
    return (
        f"The environment variable {proxy.variable} names no proxy that can be used ({type(error).__name__}).\nWrite "
        "it like http://proxy.example.com:3128."
    )


def _why(error: BaseException, passage: Passage) -> str:
    why = reason_of(error)
    if why not in _TIMED_OUT:
        return why
    if passage.step is Step.TUNNELLING:
        return f"it did not open the way within {CONNECT_TIMEOUT:g} s"
    if passage.step is Step.CONNECTED:
        return f"no answer to the TLS handshake within {CONNECT_TIMEOUT:g} s"
    return f"no connection within {CONNECT_TIMEOUT:g} s"


def _is_at_the_proxy(passage: Passage, url: str, proxy: Proxy) -> bool:
    if passage.step in (Step.CONNECTING, Step.TUNNELLING):
        return True
    # Connected, but only as far as the proxy: to be forwarded by it, or before it was asked for a tunnel.
    return passage.step is Step.CONNECTED and (urlsplit(url).scheme.lower() == "http" or not passage.tunnelled)


def _setting_at_fault(error: BaseException, passage: Passage, url: str, proxy: Proxy | None) -> str | None:
    if passage.step is Step.TUNNELLING and proxy is not None and (refusal := refused_by_proxy(proxy, error, url)):
        return refusal
    if (unusable := certificates_at_fault(url)) is not None:
        return unusable
    if passage.step is not Step.PREPARING:
        return None
    if proxy is not None:
        return proxy_at_fault(proxy, error)
    if (
        isinstance(error, OSError)
        and not isinstance(error, requests.RequestException)
        and urlsplit(url).scheme.lower() == "https"
    ):
        return f"The certificates of this machine cannot be read: {reason_of(error)}."
    return None


def _unusable(path: str) -> str | None:
    """Say what is wrong with a file or directory of certificates, if anything is."""
    if not os.path.exists(path):
        return "which does not exist"
    if os.path.isdir(path):
        return None
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        return f"which cannot be read as certificates ({reason_of(error).removeprefix('TLS failed: ')})"
    return None
