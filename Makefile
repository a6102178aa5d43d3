# Every target sets up what it needs; `make help` lists them.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Most tests wait for something: four processes, each with hosts of its own, take less time.
SIDE_BY_SIDE := --numprocesses 4 --dist worksteal
PACKAGES := python3-venv openssh-server openssh-client screen rsync openssl
# What only tests need: other shells and utilities, and what hosts may have.
TEST_PACKAGES := bash busybox e2fsprogs netcat-openbsd perl procps util-linux xxhash

# Where it is set, each of the test processes rewrites the asserts of all tests for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lint check test itest mutants mutmut demo bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

setup: $(READY) ## virtual environment and system packages

$(READY): pyproject.toml scripts/system-packages
	PYTHON=$(PYTHON) scripts/system-packages $(PACKAGES) $(TEST_PACKAGES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[dev]'
	touch $(READY)

lint: $(READY) ## ruff, mypy --strict, import-linter, shellcheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(wildcard fastrr/*/*.sh)

check: lint ## lint, and the tests that need no hosts: for use while working
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/unit

test: $(READY) ## all tests, on Docker hosts or else on sshds on loopback
	$(BIN)/pytest $(SIDE_BY_SIDE)

itest: $(READY) ## the integration tests, on Docker hosts
	FASTRR_REQUIRE=docker $(BIN)/pytest $(SIDE_BY_SIDE) tests/contract tests/integration

mutants: $(READY) ## break fastrr in small ways, and see that a test notices each
	$(BIN)/python scripts/mutants.py $(ARGS)

mutmut: $(READY) ## every small change of the modules that only decide
	rm -rf mutants # what it remembers knows nothing of tests that have changed
	$(BIN)/mutmut run
	$(BIN)/mutmut results

demo: $(READY) ## deploy the example to three SSH hosts and look at it
	$(BIN)/python scripts/demo.py

bench: $(READY) ## measure fastrr beside other tools
	$(BIN)/python scripts/benchmark/run.py $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache mutants
	find . -name __pycache__ -prune -exec rm -rf {} +
