"""
Find out whether webhooks arrive: ``python -m airflow_provider_nenoa.webhooks.selftest CONN_ID``.

It posts a signed test event through the public address, as the vendor would, and looks for it through the internal one,
as our own components do. Run it where Airflow's connections can be read, best on a worker or the API server.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Sequence

import requests
from urllib3.exceptions import HTTPError

from airflow_provider_nenoa.exceptions import NenoaError, ReceiverUnavailable
from airflow_provider_nenoa.http import Session, reason_of
from airflow_provider_nenoa.vendors import VENDORS, signatures
from airflow_provider_nenoa.webhooks.client import ReceiverClient, callback_url, checked_conn_id
from airflow_provider_nenoa.webhooks.connections import NOBODY, Sender, read_sender

WAIT = 10.0
"""Seconds to wait for the event to show up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the self-test; return 0 if all is well, 1 if not."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_nenoa.webhooks.selftest",
        description="Post a signed test event through the receiver's public address, and look for it.",
    )
    parser.add_argument("conn_id", help="the Airflow connection to test")
    conn_id = parser.parse_args(arguments).conn_id
    try:
        run_self_test(conn_id)
    except NenoaError as error:
        print(f"FAILED: {error}")
        return 1
    print("All is well: webhooks for this connection arrive.")
    return 0


def run_self_test(conn_id: str, say: Callable[[str], None] = lambda step: print(f"ok: {step}")) -> None:
    """
    Take the steps one by one, and say of each that it worked.

    :param conn_id: The connection.
    :param say: Called with a sentence after each step that worked. Default: print it.
    :raises NenoaError: A step did not work; the message says what to change.
    """
    sender = _sender(conn_id)
    say(f"connection '{conn_id}' of type {sender.conn_type} has a webhook_secret")

    client = ReceiverClient(conn_id, sender.secret, retry_for=0)
    client.check()
    say(f"the receiver answers at {client.base_url} (internal) and knows the secret")

    run_id = ref = f"selftest-{uuid.uuid4()}"
    url = callback_url(conn_id, ref)
    _post(url, sender, run_id)
    say(f"{url.partition('?')[0]} (public) took a signed event")

    if client.by_ref(ref, wait=WAIT) is None:
        raise ReceiverUnavailable(
            "The event was accepted at the public address but is not to be seen at the internal one: they lead to "
            "receivers with different databases.\nCheck [nenoa] webhook_base_url, receiver_url and event_store_url."
        )
    say("the event was read back")


def _sender(conn_id: str) -> Sender:
    checked_conn_id(conn_id)
    try:
        sender = read_sender(conn_id)
    except Exception:  # Airflow has many errors for this
        raise ReceiverUnavailable(
            f"Connection '{conn_id}' could not be read here.\nCreate it, or run this where Airflow can read it."
        ) from None
    if sender is NOBODY:
        raise ReceiverUnavailable(
            f"Connection '{conn_id}' cannot receive webhooks.\nIt must be of type nenai or openanalyst, be spelled as "
            "it was made, and have the vendor's webhook secret in its field webhook_secret."
        )
    return sender


def _post(url: str, sender: Sender, run_id: str) -> None:
    # A run that is under way: nobody who follows the events takes it for one that has ended.
    fields = {"nenai": {"message_id": run_id, "status": "processing"}}
    body = json.dumps(fields.get(sender.conn_type) or {"run_id": run_id, "status": "running"}).encode()
    name, signature = signatures.sign(VENDORS[sender.conn_type].SIGNATURE, sender.secret, body)
    headers = {"Content-Type": "application/json", name: signature}
    where = f"public address {url.partition('?')[0]}"
    advice = "It is [nenoa] webhook_base_url; by default, [api] base_url followed by /nenoa."
    try:
        with Session() as session:
            response = session.post(url, data=body, headers=headers, timeout=10, allow_redirects=False)
    except (requests.RequestException, HTTPError, OSError) as error:  # a setting can fail in forms of its own
        raise ReceiverUnavailable(
            f"No answer from the {where}: {reason_of(error)}.\n{advice} If it is right, it may be this machine that "
            "cannot reach it from inside; try from outside too."
        ) from None
    if response.status_code == 401:
        raise ReceiverUnavailable(
            f"The {where} refused the signature.\nCheck that it leads to this Airflow, where connection and "
            f"webhook_secret are the same, and that no proxy changes the request's body or headers. {advice}"
        )
    if response.status_code != 200 or "stored" not in response.text:
        raise ReceiverUnavailable(
            f"The {where} answered {response.status_code} instead of storing the event.\nCheck that it leads to "
            f"the receiver, and that no proxy asks for a login there. {advice}"
        )


if __name__ == "__main__":
    sys.exit(main())
