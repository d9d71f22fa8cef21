# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.synced
# The tests start hundreds of processes: each would compile what it imports. The cache lies in the environment, not in the tree.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
# Three workers on two cores: some tests wait for real sockets and child processes.
PARALLEL := -n 3 --dist worksteal

.PHONY: help setup demo test test-fast test-cluster props lint fmt types layers docs bench cluster cluster-clean clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || { echo "canaryd needs Python 3.11 or newer: install python3, or name it with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv sync --quiet --frozen --inexact --python $(BIN)/python
	@touch $@

setup: $(STAMP) ## make the virtual environment with everything in it

demo: $(STAMP) ## the main job, really running: a good and a bad release on a real cluster
	@$(BIN)/python -m tests.demo

test: $(STAMP) ## all tests, on the real cluster too
	$(BIN)/pytest -m "not cluster" $(PARALLEL)
	$(BIN)/pytest -m cluster

test-fast: $(STAMP) ## all tests but the cluster tier
	$(BIN)/pytest -m "not cluster" $(PARALLEL)

test-cluster: $(STAMP) ## only the cluster tier
	$(BIN)/pytest -m cluster

props: $(STAMP) ## only the property tests
	$(BIN)/pytest tests/properties

lint: types layers ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: $(STAMP) ## put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## import contracts
	$(BIN)/lint-imports

docs: $(STAMP) ## write the generated reference pages
	$(BIN)/python docs/generate_annotations.py
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_settings.py
	$(BIN)/python deploy/helm/generate_schema.py
	$(BIN)/python deploy/helm/generate_rbac_table.py
	$(BIN)/python deploy/argocd/generate_config.py

bench: $(STAMP) ## measure speed and memory; prints ratios
	$(BIN)/python -m tests.bench

cluster: $(STAMP) ## start the local cluster and keep it until Ctrl-C
	$(BIN)/python -m tests.cluster.local up

cluster-clean: $(STAMP) ## remove what a crashed cluster left behind
	$(BIN)/python -m tests.cluster.local clean

clean: ## remove the virtual environment and caches of the tree
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
