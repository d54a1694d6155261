# Everything a newcomer needs; each target sets up what it stands on.
PYTHON ?= python3.11
GPU_PYTHON ?= 3.12
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
MUTATION_STAMP := $(VENV)/.installed-mutation

.PHONY: help install model migrate run demo check lint types imports schema containers images test test-fast torture fuzz fuzz-api mutants bench gpu-bundle loop client format clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --editable '.[bench]' \
	&& touch $@ || echo "TRL could not be installed; the benchmarks go without it."

$(MUTATION_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --editable '.[mutation]'
	touch $@

install: $(STAMP)  ## Create .venv and install, with every version pinned.

model: $(STAMP)  ## Fetch and verify the embedded model.
	$(BIN)/sage-sleep model fetch

migrate: $(STAMP)  ## Create the database or bring it up to date.
	$(BIN)/sage-sleep migrate

run: model migrate  ## Start the daemon and leave it running.
	$(BIN)/sage-sleep serve

demo: model  ## Replay a short session until the model sleeps; show what it learned.
	$(BIN)/sage-sleep demo

check: lint types imports schema containers  ## Ruff, mypy strict, import-linter, alembic check, hadolint.

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  # the client also as the oldest Python reads it that it is for
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 app/client

imports: $(STAMP)
	$(BIN)/lint-imports

schema: $(STAMP)
	@directory=$$(mktemp -d) && trap 'rm -rf "$$directory"' EXIT && \
	SAGE_DATA_DIR="$$directory" $(BIN)/sage-sleep migrate && \
	SAGE_DATA_DIR="$$directory" $(BIN)/alembic check

containers: $(STAMP)
	$(BIN)/hadolint docker/Dockerfile
	sh -n docker/entrypoint.sh
	sh -n docker/try-image.sh

ENGINE ?= docker

images:  ## Build the CPU image and run it, where a container engine answers (ENGINE=podman for another).
	@if $(ENGINE) info >/dev/null 2>&1; then docker/try-image.sh $(ENGINE); \
	else echo "No container engine answers here ($(ENGINE)); the images are not tried."; fi

# No process, no model: for a loop beside an editor.
FAST := tests/domain tests/db tests/services

FAST_TESTS := pytest -n 2 -p tests.no_process $(FAST)

test-fast: $(STAMP)  ## Rules, SQL and services, in under a minute.
	$(BIN)/python -m $(FAST_TESTS)

# A file's tests stay on one core: they share a daemon, or a model that was trained for all of them.
test: check  ## All checks and all tests, on two cores; db and services on PostgreSQL, too.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(FAST_TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(FAST:%=--ignore=%)
	SAGE_TEST_DATABASE=postgresql $(BIN)/python -m pytest -n 2 --dist loadfile tests/db tests/services

torture: $(STAMP)  ## Kill daemon and child 1,000 times, beside other faults, and 10 times in real cycles; an hour or two.
	$(BIN)/python -m tests.torture --kills 1000
	$(BIN)/python -m tests.torture --kills 10 --rigs 1 --model embedded

fuzz-api: $(STAMP)  ## Ask a daemon all that its OpenAPI document allows, and what it forbids.
	$(BIN)/python -m tests.fuzz.api

fuzz: $(STAMP)  ## Read 104,000 exchanges, bodies, import files, manifests, snapshots and archives made by chance.
	FUZZ_EXAMPLES=20000 $(BIN)/pytest tests/fuzz/test_inputs.py --timeout 0

mutants: $(MUTATION_STAMP)  ## Change the rules one bound, factor or operator at a time; every test must notice.
	$(BIN)/python -m tests.mutants

bench: $(BENCH_STAMP)  ## Measure speed and memory against baselines in the same run.
	$(BIN)/pytest tests/benchmarks --override-ini=addopts= -s -p no:randomly

gpu-bundle: $(STAMP)  ## Pack what a GPU machine without a network needs to measure training on it.
	$(BIN)/python -m tests.benchmarks.bundle --to build/gpu --python $(GPU_PYTHON)

loop: $(STAMP)  ## Talk, sleep and talk to what was learned, with real processes; prints figures.
	$(BIN)/python -m tests.benchmarks.loop

client: $(STAMP)  ## Write the client's blocking half from its asyncio half.
	$(BIN)/python -m tests.client.write_sync

format: $(STAMP)  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and caches; data stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* *.egg-info app/client/build app/client/*.egg-info
