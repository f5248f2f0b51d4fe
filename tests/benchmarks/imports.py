"""What importing our operator modules adds to ``airflow.sdk``, against what a peer's adds."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.table import Row

OPERATORS = [f"airflow_provider_nenoa.operators.{vendor}" for vendor in ("nenai", "openanalyst")]
ALL = [
    f"airflow_provider_nenoa.{layer}.{vendor}"
    for layer in ("operators", "sensors", "triggers")
    for vendor in ("nenai", "openanalyst")
]
PEERS = {
    "airbyte": "airflow.providers.airbyte.operators.airbyte",
    "http": "airflow.providers.http.operators.http",
    "dbt-cloud": "airflow.providers.dbt.cloud.operators.dbt",
    "databricks": "airflow.providers.databricks.operators.databricks",
    "anthropic": "airflow.providers.anthropic.operators.agent",
}
HEAVY = ("requests", "tenacity", "fastapi", "sqlalchemy", "jwt")
ROUNDS = 3

# What a DAG file has loaded anyway is no provider's cost. CPU time: others may be at work on the machine.
PROBE = """
import importlib, sys, time
import airflow.sdk
for name in ("DAG", "BaseOperator", "BaseSensorOperator", "BaseHook", "BaseOperatorLink", "Param", "task"):
    getattr(airflow.sdk, name)
before = set(sys.modules)
begun = time.process_time()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(time.process_time() - begun, *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def _added(modules: list[str]) -> tuple[float, set[str]] | None:
    """Seconds and top-level packages that the modules add; None where they cannot be imported."""
    probe = subprocess.run([sys.executable, "-c", PROBE, *modules], capture_output=True, text=True, check=False)
    if probe.returncode:
        return None
    seconds, *packages = probe.stdout.splitlines()[-1].split()
    return float(seconds), set(packages)


def rows() -> list[Row]:
    """Our operators alone, and with sensors and triggers, against the leanest peer's operators."""
    seconds: dict[str, list[float]] = {}
    packages: dict[str, set[str]] = {}
    candidates = {"operators": OPERATORS, "all": ALL, **{name: [module] for name, module in PEERS.items()}}
    for _ in range(ROUNDS):
        for name, modules in candidates.items():
            if (added := _added(modules)) is not None:
                seconds.setdefault(name, []).append(added[0])
                packages.setdefault(name, set()).update(added[1])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    peers = {name: median[name] for name in sorted(PEERS.keys() & median, key=lambda name: median[name])}
    leanest, least = next(iter(peers.items()))
    missing = sorted(PEERS.keys() - peers)

    def row(name: str, what: str, note: str) -> Row:
        ratio = median[name] / least
        heavy = sorted(packages[name] & set(HEAVY))
        return Row(
            f"import of our {what}, added to `airflow.sdk`",
            "≤ 0.1 of the leanest peer's operators, no heavy module",
            f"{median[name] * 1000:.1f} ms; {ratio:.3f} of {leanest}'s; heavy: {', '.join(heavy) or 'none'}",
            ", ".join(f"{peer} {value * 1000:.0f} ms" for peer, value in peers.items())
            + (f" (not importable: {', '.join(missing)})" if missing else ""),
            ratio <= 0.1 and not heavy,
            f"CPU time, median of {ROUNDS} fresh processes each, in turn{note}",
        )

    return [
        row("operators", "operators", ""),
        row("all", "operators, sensors and triggers", "; most of it is `airflow.triggers.base`, which a trigger needs"),
    ]
