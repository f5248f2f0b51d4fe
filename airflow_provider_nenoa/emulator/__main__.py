"""``python -m airflow_provider_nenoa.emulator``: both vendors on one port."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from airflow_provider_nenoa.emulator.server import Server, listen
from airflow_provider_nenoa.emulator.settings import PLANS, Settings

#: Without a key of its own, a connection with a wrong one could not be told from a right one.
NENAI_KEY = "nen_emulator"


def _seconds(text: str) -> float | None:
    return None if text == "never" else float(text)


def _parser() -> argparse.ArgumentParser:
    # An option that was not given leaves no trace: the defaults are those of Settings.
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_nenoa.emulator",
        description="NenAI and OpenAnalyst on localhost. Prints its URL when it is ready.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="0: a free port (default: %(default)s)")
    parser.add_argument("--plan", choices=list(PLANS), help="OpenAnalyst's limits (default: pro)")
    parser.add_argument("--requests-per-minute", type=int, help="instead of the plan's number")
    parser.add_argument("--requests-per-day", type=int, help="instead of the plan's number")
    parser.add_argument("--window", choices=["fixed", "sliding"], help="how requests are counted (default: fixed)")
    parser.add_argument("--no-rate-headers", dest="rate_headers", action="store_false", help="no X-RateLimit-*")
    never = "; never: until it is ended through the control API"
    parser.add_argument("--agent-seconds", type=_seconds, help="how long an agent run takes (default: 1)" + never)
    parser.add_argument("--workflow-seconds", type=_seconds, help="how long a workflow run takes (default: 1)" + never)
    parser.add_argument("--query-seconds", type=_seconds, help="how long a query takes (default: 0, at once)" + never)
    parser.add_argument("--webhook-secret", help="signs the webhooks of both vendors")
    parser.add_argument("--openanalyst-webhook-secret", help="signs OpenAnalyst's webhooks")
    parser.add_argument("--nenai-webhook-secret", help="signs NenAI's webhooks")
    parser.add_argument("--openanalyst-key", help="the one accepted key (default: any oa_live_... or oa_test_...)")
    parser.add_argument("--nenai-key", default=NENAI_KEY, help="the one accepted key (default: %(default)s)")
    parser.add_argument(
        "--pagination", choices=["page", "cursor", "repeat", "gaps", "endless"], help="form of lists (default: page)"
    )
    parser.add_argument("--api-form", choices=["both", "api", "server"], help="OpenAnalyst's reference (default: both)")
    forms = ["hex", "prefixed", "upper", "base64", "base64url", "stripe"]
    parser.add_argument("--signature", choices=forms, help="how OpenAnalyst writes it (default: hex)")
    parser.add_argument("--webhook-form", choices=["1", "2", "mixed"], help="of NenAI's last webhook (default: 1)")
    parser.add_argument("--mcp-reply", choices=["sse", "json"], help="how the MCP server answers (default: sse)")
    parser.add_argument("--run-status-path", action="store_true", help="NenAI answers GET /runs/{message_id}")
    parser.add_argument("--public-url", help="base of presigned URLs (default: where the run was started)")
    return parser


def settings_from(options: dict[str, Any]) -> Settings:
    """The settings that a command line asks for.

    :raises pydantic.ValidationError: if a value makes no sense.
    """
    given = {name: value for name, value in options.items() if name in Settings.model_fields}
    for kind in ("agent", "workflow", "query"):
        if f"{kind}_seconds" in options:
            given[kind] = {"seconds": options[f"{kind}_seconds"]}
    if "webhook_secret" in options:
        for vendor in ("openanalyst", "nenai"):
            given.setdefault(f"{vendor}_webhook_secret", options["webhook_secret"])
    return Settings().patched(given)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        settings = settings_from(vars(arguments))
    except ValidationError as error:
        parser.error(str(error))
    try:
        sock = listen(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:  # the latter: there is no such port
        print(f"Cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return 1
    url = f"http://{arguments.host}:{sock.getsockname()[1]}"
    with contextlib.suppress(KeyboardInterrupt):
        Server(settings, on_ready=lambda: print(url, flush=True)).run(sockets=[sock])
    return 0


if __name__ == "__main__":
    sys.exit(main())
