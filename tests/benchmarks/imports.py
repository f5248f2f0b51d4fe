"""What importing our operator modules adds to ``airflow.sdk``, against what a peer's adds."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.benchmarks.table import Row

OURS = [
    f"airflow_provider_nenoa.{layer}.{vendor}"
    for layer in ("operators", "sensors", "triggers")
    for vendor in ("nenai", "openanalyst")
]
PEERS = {
    "airbyte": "airflow.providers.airbyte.operators.airbyte",
    "http": "airflow.providers.http.operators.http",
    "dbt-cloud": "airflow.providers.dbt.cloud.operators.dbt",
    "databricks": "airflow.providers.databricks.operators.databricks",
    "anthropic": "airflow.providers.anthropic.operators.anthropic",
}
HEAVY = ("requests", "tenacity", "fastapi", "sqlalchemy", "jwt")
ROUNDS = 3

# Both parts import every name of airflow.sdk first: what a DAG file has loaded anyway is not a provider's cost.
PROBE = """
import importlib, sys, time
import airflow.sdk
for name in ("DAG", "BaseOperator", "BaseSensorOperator", "BaseHook", "BaseOperatorLink", "Param", "task"):
    getattr(airflow.sdk, name)
before = set(sys.modules)
begun = time.perf_counter()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(time.perf_counter() - begun, *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def _added(modules: list[str]) -> tuple[float, set[str]] | None:
    """Seconds and top-level packages that the modules add; None where they cannot be imported."""
    probe = subprocess.run([sys.executable, "-c", PROBE, *modules], capture_output=True, text=True, check=False)
    if probe.returncode:
        return None
    seconds, *packages = probe.stdout.splitlines()[-1].split()
    return float(seconds), set(packages)


def rows() -> list[Row]:
    """One row: our six modules against the leanest peer's one."""
    seconds: dict[str, list[float]] = {}
    packages: set[str] = set()
    candidates = {"ours": OURS, **{name: [module] for name, module in PEERS.items()}}
    for _ in range(ROUNDS):
        for name, modules in candidates.items():
            added = _added(modules)
            if added is None:
                continue
            seconds.setdefault(name, []).append(added[0])
            if name == "ours":
                packages |= added[1]
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ours = median.pop("ours")
    leanest = min(median, key=lambda name: median[name])
    heavy = sorted(packages & set(HEAVY))
    ratio = ours / median[leanest]
    missing = sorted(set(PEERS) - set(median))
    return [
        Row(
            "import of our operators, sensors and triggers, added to `airflow.sdk`",
            "≤ 0.1 of the leanest peer's, no heavy module",
            f"{ours * 1000:.1f} ms; {ratio:.3f} of {leanest}'s",
            ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in sorted(median.items(), key=lambda pair: pair[1])),
            ratio <= 0.1 and not heavy,
            f"median of {ROUNDS} fresh processes each, in turn; heavy modules loaded: {', '.join(heavy) or 'none'}"
            + (f"; not importable here: {', '.join(missing)}" if missing else ""),
        )
    ]
