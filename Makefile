# Each target sets up what it needs: a virtual environment in .venv, filled from
# the hash-pinned lock files in requirements/. Only Python >= 3.11, git and make
# have to be there.

PYTHON ?= python3
OLDEST ?= /usr/bin/python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The tests start hundreds of processes; each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo servers test lint types unit oldest coverage mutation rules sim planted exhaustive chaos faults bench cost instructions protos lock clean

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tercet needs Python >= 3.11; set PYTHON=...")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing run-time dependencies (hash-pinned)"
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "Installing development dependencies (hash-pinned)"
	@$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

$(VENV)/bench.stamp: requirements/bench.txt $(VENV)/dev.stamp
	@echo "Installing what the benchmark needs (hash-pinned)"
	@$(PIP) install --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

demo: $(VENV)/run.stamp ## Transfers and loans while processes are killed, then an audit (ARGS="--help" shows its flags)
	@$(BIN)/python -m examples.demo $(ARGS)

test: lint types unit ## All that CI runs

servers: $(VENV)/dev.stamp ## Install the database servers that tests start (as root)
	@$(BIN)/python -m tests.servers install

lint: $(VENV)/dev.stamp ## Style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp ## mypy, strict
	@$(BIN)/mypy

unit: $(VENV)/dev.stamp ## All tests (ARGS="-k name" picks some, JOBS=0 runs them in one process)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# Other releases count branches in other ways, so coverage is judged with one of them.
oldest: ## The tests of rules, sagas, engine and SDK with the oldest Python of a system (OLDEST=/usr/bin/python3)
	@$(OLDEST) -c 'import ensurepip' 2>/dev/null || { echo "$(OLDEST) has no ensurepip: apt-get install python3-venv, or set OLDEST=..."; exit 1; }
	@$(OLDEST) --version
	@$(MAKE) --no-print-directory unit VENV=.venv-oldest PYTHON=$(OLDEST) ARGS="tests/core tests/saga_yaml tests/golden tests/saga_kit tests/engine tests/api tests/sdk --ignore=tests/core/test_coverage.py"

coverage: $(VENV)/dev.stamp ## Each module of rules, covered by its own tests alone
	@$(BIN)/python -m tests.core.coverage_check

mutation: $(VENV)/dev.stamp ## Small mistakes in the rules, and whether their tests notice (minutes; ARGS="--jobs 2 tcc")
	@$(BIN)/python -m tests.mutation.run $(ARGS)

rules: $(VENV)/dev.stamp ## Renew docs/rules.md from the tests
	@$(BIN)/python -m tests.rules.table

sim: $(VENV)/dev.stamp ## Simulate faults (SEEDS=n schedules, or SEED=k alone)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000) $(if $(SEED),--seed $(SEED) --trace) $(ARGS)

planted: $(VENV)/dev.stamp ## Plant known bugs in memory, let the simulator find each
	@$(BIN)/python -m tests.simulation.planted $(ARGS)

exhaustive: $(VENV)/dev.stamp ## Every order of events in small worlds (minutes; ARGS="--only diamond" picks some)
	@$(BIN)/python -m tests.exhaustive --deep $(ARGS)

chaos: $(VENV)/dev.stamp ## Real processes under real faults (STORE=sqlite|postgresql|mariadb DURATION=60 SEED=7)
	@$(BIN)/python -m tests.chaos --store $(or $(STORE),sqlite) --duration $(or $(DURATION),60) --seed $(or $(SEED),7) $(ARGS)

faults: $(VENV)/dev.stamp ## Inject one fault into real processes (ONLY=F19 ARGS="--store mariadb"; alone: name all)
	@$(BIN)/python -m tests.faults $(or $(ONLY),--list) $(ARGS)

bench: $(VENV)/bench.stamp ## Speed against the bare limit (WORKLOAD=saga2 STORE=postgresql IN_FLIGHT=256 RUNS=5; see docs/speed.md)
	@$(BIN)/python -m bench.speed --workload $(or $(WORKLOAD),saga2) --store $(or $(STORE),postgresql) --in-flight $(or $(IN_FLIGHT),256) --runs $(or $(RUNS),5) $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SWEEP),--sweep $(SWEEP)) $(if $(PARTICIPANT),--participant $(PARTICIPANT)) $(if $(PEER),--peer $(PEER)) $(if $(NODES),--nodes $(NODES)) $(if $(FINISHED),--finished $(FINISHED)) $(ARGS)

instructions: $(VENV)/dev.stamp ## Instructions a transaction takes a node, by file (ARGS=--renew stores them)
	@$(BIN)/python -m bench.speed.instructions $(ARGS)

cost: $(VENV)/dev.stamp ## Whether a transaction costs more processor time than it did (ARGS=--renew stores it)
	@$(BIN)/python -m bench.speed.cost $(ARGS)

protos: $(VENV)/dev.stamp ## Regenerate the code in protos/v1
	@$(BIN)/python -m protos.generate

lock: ## Renew the lock files (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group build pyproject.toml -o requirements/run.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group dev --constraint requirements/run.txt pyproject.toml -o requirements/dev.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group bench --constraint requirements/dev.txt pyproject.toml -o requirements/bench.txt

clean: ## Remove the virtual environments and the demo's files
	@rm -rf $(VENV) .venv-oldest .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
