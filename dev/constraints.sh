#!/usr/bin/env bash
# Write constraints/constraints-<minor>.txt: versions that were installed together with that Airflow minor and ran.
#
#   dev/constraints.sh [MINOR...]      default: 3.0 3.1 3.2 3.3
#
# PYTHON names the interpreter (default python3.11, the oldest we support: what installs there installs on newer ones).
set -euo pipefail
cd "$(dirname "$0")/.."

# Newer releases of a few libraries break an Airflow that was released before them and does not say so itself.
declare -A caps=(
    # PyJWT 2.11 refuses the token without an issuer that 3.0 signs. The execution API answers 422 to the client of its
    # own version with the FastAPI that cadwyn 6 brings. ObjectStoragePath cannot be made with universal-pathlib 0.3.
    # 3.1 has the same caps on FastAPI and universal-pathlib, and names them. (And pandas 2, as its users have.)
    [3.0]="pyjwt<2.11 fastapi<0.118 cadwyn<6 universal-pathlib<0.3 pandas<3"
    # The API server does not start on FastAPI 0.137 ("needs a discriminator field"); 3.3 has this cap, and names it.
    # With svcs 26, dag.test() and `airflow tasks test` fail: "'State' object has no attribute 'svcs_registry'".
    [3.2]="fastapi<0.137 cadwyn<8 svcs<26"
    # The Celery provider 3.26 imports a name that celery 5.7 has no more.
    [3.3]="celery<5.7"
)
# The Common AI provider, those that `make bench` measures against, and Celery: on the newest Airflow only.
# Older ones make connection forms of wtforms, and do not install it.
declare -A groups=([3.0]="wtforms" [3.1]="wtforms" [3.3]="--group ai --group bench --group ha")

[ $# -gt 0 ] || set -- 3.0 3.1 3.2 3.3
for minor; do
    venv=.nenoa/constraints/$minor
    file=constraints/constraints-$minor.txt
    echo "=== Airflow $minor"
    "${PYTHON:-python3.11}" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    # shellcheck disable=SC2086  # lists of requirements and groups
    "$venv/bin/python" -m pip install --quiet "apache-airflow==$minor.*" ${caps[$minor]:-} \
        -e ".[parquet,sql]" --group test --group lint --group docs ${groups[$minor]:-}
    echo "Starting it, to see that it runs"
    "$venv/bin/python" -m dev.check_airflow
    {
        echo "# Made by dev/constraints.sh: installed together and run, on $("$venv/bin/python" -V)."
        "$venv/bin/python" -m pip freeze --exclude-editable
    } >"$file.new"
    mv "$file.new" "$file"
    echo "Wrote $file, $(grep -c == "$file") packages"
done
