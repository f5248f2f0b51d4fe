#!/usr/bin/env bash
# Install a wheel into a clean environment and check that Airflow finds the provider there, with all that it declares.
#
#   PYTHON=python3.11 CONSTRAINTS=constraints/constraints-3.3.txt dev/check_wheel.sh dist/NAME.whl
set -euo pipefail

place=$PWD/.nenoa/check-wheel
rm -rf "$place"
"$PYTHON" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --constraint "$CONSTRAINTS" "$1"
"$place/venv/bin/python" -m pip check

# Elsewhere, so that the package is found where it was installed, not where it was written.
cd "$place"
export AIRFLOW_HOME=$place/airflow AIRFLOW__CORE__LOAD_EXAMPLES=False
airflow=$place/venv/bin/airflow

expect() { # what airflow COMMAND... must show
    local what=$1
    shift
    if "$airflow" "$@" --output plain | grep -E -- "$what"; then
        return
    fi
    echo "airflow $* does not show: $what" >&2
    exit 1
}

"$airflow" db migrate >/dev/null 2>&1
expect '^airflow-provider-nenoa ' providers list
for type in nenai openanalyst; do
    expect "^$type " providers hooks
    expect "^extra__${type}__webhook_secret " providers widgets
done
echo "The wheel works: $(basename "$1")"
