# Everything runs in a virtual environment installed from constraints/, .venv; what a run leaves behind is in .nenoa/.
#
#   PYTHON=...     the interpreter, 3.11 or newer (default: the first that is found)
#   AIRFLOW=3.0    another minor version of Airflow, in an environment of its own; for any target
#   NENOA_HA=20    how many workflows, and agents, `make ha-test` runs (default: 200)
#   INPUTS=...     how many requests `make fuzz` makes (default: 100,000)
#   TESTS=...      what `make test` runs, with pytest's options (default: everything but benchmarks and the crash suite)

AIRFLOW ?= 3.3
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# Unit tests wait more than they work, so several run at once; a real Airflow needs the machine for itself.
AT_ONCE := --numprocesses 3 --dist worksteal

# The tests of our seams with Airflow, and a short way through a real one: for other versions than the newest.
VERSIONED := $(addprefix tests/unit/,lineage $(addsuffix .py,$(addprefix test_,agents decorators docs examples imports \
	links mapped_secrets memory operators provider_info retries run_event_trigger secrets sensors signatures \
	start_from_trigger triggers versions)) $(addprefix webhooks/test_,airflow_internals.py page.py plugin.py \
	readiness.py)) tests/integration/test_dag_test.py
SHORT := $(addprefix tests/e2e/test_,openanalyst.py::test_a_deferred_agent_holds_no_worker_and_is_resumed \
	openanalyst.py::test_sensors_wait_in_all_three_modes results.py::test_files_quality_and_rows \
	webhooks.py::test_fifty_workflows_cost_fifty_requests webhooks.py::test_a_dag_starts_when_a_run_has_ended)

SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600)

# Airflow's Common AI provider fits the newest Airflow only.
AI := $(if $(filter 3.3,$(AIRFLOW)),--group ai)
# Older ones make connection forms of it, and leave it to the FAB provider to install it.
FORMS := $(if $(filter 3.0 3.1,$(AIRFLOW)),wtforms)

CONSTRAINTS := constraints/constraints-$(AIRFLOW).txt
VENV := $(if $(filter 3.3,$(AIRFLOW)),.venv,.nenoa/venv-$(AIRFLOW))
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
HA_INSTALLED := $(VENV)/.installed-ha

.PHONY: help install demo test browser-test screenshots crash-test ha-test ha-smoke fuzz compat test-matrix oldest mutation bench lint types pictures docs build check-wheel constraints clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make the environment, which the other targets make when they need it

demo: $(INSTALLED) ## Run the pipeline example in a real Airflow against emulated vendors; KEEP=1 leaves it running
	@$(RUN) dev.demo $(if $(KEEP),--keep)

test: $(INSTALLED) ## Run the unit, integration and end-to-end tests
ifdef TESTS
	$(RUN) pytest -m "not crash" $(TESTS)
else
	$(RUN) pytest $(AT_ONCE) tests/unit tests/integration
	$(RUN) pytest -m "not crash" tests/e2e
endif

browser-test: $(INSTALLED) ## Run the tests of Airflow's user interface in headless Chromium, which must be installed
	$(RUN) pytest tests/browser

screenshots: $(INSTALLED) ## The same, and keep what the documentation shows of it
	NENOA_SCREENSHOTS=1 $(RUN) pytest tests/browser

crash-test: $(INSTALLED) ## Run the whole crash suite in a real Airflow; writes docs/what-happens-when.md
	$(RUN) pytest tests/e2e/crash --document

ha-test: $(HA_INSTALLED) ## Lose processes of an Airflow on Celery with 400 tasks: a quarter of an hour; needs redis-server
	$(RUN) pytest tests/ha

ha-smoke: $(HA_INSTALLED) ## The short form of it: ten tasks, a triggerer is lost; two minutes
	$(RUN) pytest tests/ha -k a_triggerer_is_lost

fuzz: $(INSTALLED) ## Send hostile requests to the receiver: INPUTS=100000 of them
	NENOA_FUZZ=$(or $(INPUTS),100000) $(RUN) pytest tests/unit/webhooks/test_fuzz.py

compat: ## Run unit and integration tests on another Airflow, and some end to end: make compat AIRFLOW=3.0
	$(MAKE) test TESTS="$(AT_ONCE) tests/unit tests/integration"
	$(MAKE) test TESTS="$(SHORT)"

test-matrix: ## The same on each Airflow that is supported
	set -e; for minor in 3.0 3.1 3.2 3.3; do $(MAKE) compat AIRFLOW=$$minor; done

oldest: ## Run the tests to which Airflow's version matters on the oldest that is supported
	$(MAKE) test AIRFLOW=3.0 TESTS="$(AT_ONCE) $(VERSIONED)"
	$(MAKE) test AIRFLOW=3.0 TESTS="$(SHORT)"
	$(MAKE) browser-test AIRFLOW=3.0

mutation: $(INSTALLED) ## Change the code in small ways and see whether the tests notice: ARGS="--sample 60 --seed 1"
	nice -n 10 $(RUN) dev.mutation $(ARGS)

bench: $(BENCH_INSTALLED) ## Run the benchmarks; prints a table, writes docs/benchmarks.md
	$(RUN) tests.benchmarks

lint: $(INSTALLED) ## Check the style, and that no import goes up
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(VENV)/bin/lint-imports

types: $(INSTALLED) ## Check the types
	$(RUN) mypy

pictures: $(INSTALLED) ## Draw the pictures of the documentation
	$(RUN) dev.pictures

docs: $(INSTALLED) ## Build the documentation into .nenoa/docs
	$(RUN) sphinx --fail-on-warning --quiet -d .nenoa/doctrees docs .nenoa/docs

build: $(INSTALLED) ## Build the source distribution and the wheel into dist/, the same bytes each time
	rm -rf dist
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(RUN) build
	$(RUN) twine check --strict dist/*

check-wheel: build ## Install the wheel into a clean environment and ask Airflow about it
	PYTHON=$(PYTHON) CONSTRAINTS=$(CONSTRAINTS) dev/check_wheel.sh dist

constraints: ## Make the files in constraints/ anew, from the newest versions that work
	dev/constraints.sh

clean: ## Remove environments, state and build products
	rm -rf .venv .nenoa dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer (with venv) found: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing Airflow $(AIRFLOW) and the provider into $(VENV): a few minutes the first time"
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --quiet --upgrade 'pip>=25.1'
	$(RUN) pip install --quiet --constraint $(CONSTRAINTS) --editable '.[parquet,sql]' --group test --group lint --group docs $(AI) $(FORMS)
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(RUN) pip install --quiet --constraint $(CONSTRAINTS) --group bench
	@touch $@

$(HA_INSTALLED): $(INSTALLED)
	$(RUN) pip install --quiet --constraint $(CONSTRAINTS) --group ha
	@touch $@
