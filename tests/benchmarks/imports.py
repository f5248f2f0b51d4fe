"""What importing our operator modules adds to ``airflow.sdk``, against what a peer's adds."""

from __future__ import annotations

import compileall
import json
import statistics
import subprocess
import sys
from pathlib import Path

import airflow_provider_nenoa
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
ROUNDS = 45

# Each import is made in a fork of a process that has loaded what a DAG file has loaded anyway, which is no provider's
# cost, nor is a garbage collection of it that happens to fall due. CPU time: others may be at work on the machine.
PROBE = """
import gc, importlib, json, os, sys, time
import airflow.sdk
for name in ("DAG", "BaseOperator", "BaseSensorOperator", "BaseHook", "BaseOperatorLink", "Param", "task"):
    getattr(airflow.sdk, name)
before = set(sys.modules)
gc.collect()
gc.freeze()
rounds, candidates = json.loads(sys.argv[1])
for _ in range(rounds):
    for candidate, modules in candidates.items():
        if os.fork():
            os.wait()
            continue
        begun = time.process_time()
        try:
            for module in modules:
                importlib.import_module(module)
        except ImportError:
            os._exit(1)
        seconds = time.process_time() - begun
        packages = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
        print("ADDED", json.dumps([candidate, seconds, packages]), flush=True)
        os._exit(0)
"""


def rows() -> list[Row]:
    """Our operators alone, and with sensors and triggers, against the leanest peer's operators."""
    # Where Python may not write bytecode, a working copy would be compiled anew each time, unlike installed packages.
    compileall.compile_dir(str(Path(airflow_provider_nenoa.__file__).parent), quiet=2)
    seconds: dict[str, list[float]] = {}
    packages: dict[str, set[str]] = {}
    candidates = {"operators": OPERATORS, "all": ALL, **{name: [module] for name, module in PEERS.items()}}
    command = [sys.executable, "-c", PROBE, json.dumps([ROUNDS, candidates])]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("ADDED "):
            name, each, loaded = json.loads(line.removeprefix("ADDED "))
            seconds.setdefault(name, []).append(each)
            packages.setdefault(name, set()).update(loaded)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    peers = {name: median[name] for name in sorted(PEERS.keys() & median, key=lambda name: median[name])}
    leanest, least = next(iter(peers.items()))
    missing = sorted(PEERS.keys() - peers)

    def cost(name: str) -> str:
        heavy = sorted(packages[name] & set(HEAVY))
        ratio = median[name] / least
        return f"{median[name] * 1000:.1f} ms; {ratio:.3f} of {leanest}'s; heavy: {', '.join(heavy) or 'none'}"

    reference = ", ".join(f"{peer} {value * 1000:.0f} ms" for peer, value in peers.items())
    if missing:
        reference += f" (not importable: {', '.join(missing)})"
    return [
        Row(
            "import of our operators, added to `airflow.sdk`",
            "≤ 0.1 of the leanest peer's operators, no heavy module",
            cost("operators"),
            reference,
            median["operators"] <= 0.1 * least and not packages["operators"] & set(HEAVY),
            f"CPU time, median of {ROUNDS} processes each, in turns. With our sensors and triggers too: {cost('all')}; "
            "most of that is `airflow.triggers.base`, which every trigger needs",
        ),
    ]
