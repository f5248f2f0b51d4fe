#!/usr/bin/env bash
# Look at what was built: it is the same when it is built again, its sources are complete, and in a clean Airflow the wheel
# changes no other package and is found there with all that it declares.
#
#   PYTHON=python3.11 CONSTRAINTS=constraints/constraints-3.3.txt dev/check_wheel.sh dist
set -euo pipefail

dist=$(realpath "$1")
wheel=$(echo "$dist"/*.whl)
sources=$(echo "$dist"/*.tar.gz)
constraints=$(realpath "$CONSTRAINTS")
place=$PWD/.nenoa/check-wheel
rm -rf "$place"
mkdir -p "$place/again"

# Built from the source distribution, not from this checkout: what is missing there is missing here.
tar -xf "$sources" -C "$place/again" --strip-components=1
SOURCE_DATE_EPOCH=$(tar -tvf "$sources" --full-time | awk 'NR == 1 { print $4, $5 }' | date -u -f - +%s) \
    .venv/bin/python -m build --outdir "$place/dist" "$place/again" >/dev/null
for built in "$wheel" "$sources"; do
    cmp "$built" "$place/dist/$(basename "$built")"
done
make -s -C "$place/again" help >/dev/null
for path in $(grep -oE '\b(dev|constraints|docs|tests|example_dags)\b' "$place/again/Makefile" | sort -u); do
    test -e "$place/again/$path" || { echo "The source distribution lacks $path" >&2; exit 1; }
done

"$PYTHON" -m venv "$place/venv"
pip="$place/venv/bin/python -m pip"
$pip install --quiet --constraint "$constraints" apache-airflow
$pip freeze >"$place/before.txt"
$pip install --quiet "$wheel"
$pip freeze | grep -v '^airflow-provider-nenoa ' >"$place/after.txt"
diff "$place/before.txt" "$place/after.txt" || { echo "The wheel changes what Airflow had installed" >&2; exit 1; }
$pip check

# Elsewhere, so that the package is found where it was installed, not where it was written.
cd "$place"
export AIRFLOW_HOME=$place/airflow AIRFLOW__CORE__LOAD_EXAMPLES=False
airflow=$place/venv/bin/airflow

expect() { # what airflow COMMAND... must show
    local what=$1
    shift
    if "$airflow" "$@" --output plain 2>/dev/null | grep -E -- "$what"; then
        return
    fi
    echo "airflow $* does not show: $what" >&2
    exit 1
}

case "$constraints" in
    *-3.[01].txt) export AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS=airflow_provider_nenoa.webhooks.db_manager.NenoaDBManager ;;
esac
"$airflow" db migrate >/dev/null 2>&1
"$place/venv/bin/python" - "$AIRFLOW_HOME/airflow.db" <<'EOF'
import sqlite3, sys
tables = {name for (name,) in sqlite3.connect(sys.argv[1]).execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
missing = {"nenoa_counter", "nenoa_run", "nenoa_tally", "nenoa_waiting", "nenoa_spent", "nenoa_alembic_version"} - tables
sys.exit(f"`airflow db migrate` made no {', '.join(sorted(missing))}" if missing else 0)
EOF
"$airflow" db check-migrations --migration-wait-timeout 1 >/dev/null 2>&1
expect '^airflow-provider-nenoa ' providers list
for type in nenai openanalyst openanalyst_sql; do
    expect "^$type " providers hooks
    expect "^extra__${type}__timeout " providers widgets
done
expect 'airflow_provider_nenoa.links.nenai.NenAIRunLink' providers links
expect 'airflow_provider_nenoa.triggers.events' providers triggers
expect 'airflow_provider_nenoa.notifications.agent' providers notifications
expect '^nenoa ' plugins
"$place/venv/bin/python" -W ignore - <<'EOF'
import runpy
from pathlib import Path

import airflow_provider_nenoa
from airflow.sdk import task
from airflow_provider_nenoa.get_provider_info import get_provider_info

package, info = Path(airflow_provider_nenoa.__file__).parent, get_provider_info()
for name in [each["name"] for each in info["task-decorators"]]:
    getattr(task, name)
for integration in info["integrations"]:
    assert (package.parent / integration["logo"]).is_file(), integration["logo"]
examples = sorted((package / "example_dags").glob("*.py"))
assert len(examples) > 8, examples
for path in examples:
    runpy.run_path(str(path))
print(f"Decorators, logo and {len(examples)} example DAGs are there")
EOF
echo "The wheel works: $(basename "$wheel")"
