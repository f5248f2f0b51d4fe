# Everything runs in a virtual environment installed from constraints/, .venv; what a run leaves behind is in .nenoa/.
#
#   PYTHON=...     the interpreter, 3.11 or newer (default: the first that is found)
#   AIRFLOW=3.0    another minor version of Airflow, in an environment of its own; for any target
#   TESTS=...      what `make test` runs (default: everything but benchmarks and the crash suite)

AIRFLOW ?= 3.3
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TESTS ?= tests/unit tests/integration tests/e2e

CONSTRAINTS := constraints/constraints-$(AIRFLOW).txt
VENV := $(if $(filter 3.3,$(AIRFLOW)),.venv,.nenoa/venv-$(AIRFLOW))
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench

.PHONY: help demo test crash-test compat bench lint types docs build check-wheel constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## Run the pipeline example in a real Airflow against emulated vendors; KEEP=1 leaves it running
	@$(RUN) dev.demo $(if $(KEEP),--keep)

test: $(INSTALLED) ## Run the unit, integration and end-to-end tests
	$(RUN) pytest -m "not crash" $(TESTS)

crash-test: $(INSTALLED) ## Run the whole crash suite in a real Airflow; writes docs/what-happens-when.md
	$(RUN) pytest tests/e2e/crash --document

compat: ## Run the unit tests on another Airflow: make compat AIRFLOW=3.0
	$(MAKE) test TESTS=tests/unit

bench: $(BENCH_INSTALLED) ## Run the benchmarks; prints a table, writes docs/benchmarks.md
	$(RUN) tests.benchmarks

lint: $(INSTALLED) ## Check the style
	$(RUN) ruff check .

types: $(INSTALLED) ## Check the types
	$(RUN) mypy

docs: $(INSTALLED) ## Build the documentation into .nenoa/docs
	$(RUN) sphinx --fail-on-warning --quiet -d .nenoa/doctrees docs .nenoa/docs

build: $(INSTALLED) ## Build the source distribution and the wheel into dist/
	rm -rf dist
	$(RUN) build

check-wheel: build ## Install the wheel into a clean environment and ask Airflow about it
	PYTHON=$(PYTHON) CONSTRAINTS=$(CONSTRAINTS) dev/check_wheel.sh dist/*.whl

constraints: ## Make the files in constraints/ anew, from the newest versions that work
	dev/constraints.sh

clean: ## Remove environments, state and build products
	rm -rf .venv .nenoa dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer (with venv) found: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing Airflow $(AIRFLOW) and the provider into $(VENV): a few minutes the first time"
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --quiet --constraint $(CONSTRAINTS) --editable '.[parquet,sql,test,lint,docs]'
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(RUN) pip install --quiet --constraint $(CONSTRAINTS) --editable '.[bench]'
	@touch $@
