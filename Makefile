# Every target makes .venv first when it has to. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := core platforms proxy mixer istioctl
ARGS ?=
SOAK ?= 3600

.PHONY: help setup test lint types imports pytest quick bench soak format demo lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1 \t\2/' | expand -t 18

setup: ## make .venv with the pinned dependencies and this tree (quick when nothing changed)
	@PYTHON="$(PYTHON)" requirements/sync

test: lint types imports pytest ## everything that must be green: linters, types, import rules, all tests

lint: setup ## ruff: mistakes and layout
	@$(BIN)/ruff check $(PACKAGES) tests
	@$(BIN)/ruff format --check $(PACKAGES) tests

types: setup ## mypy --strict over the packages and the tests
	@$(BIN)/mypy

imports: setup ## who may import whom (.importlinter)
	@$(BIN)/lint-imports --no-logo

# Benchmarks measure; they are not part of `make test` (`make bench` runs them).
pytest: setup ## the tests alone, all or some: make pytest ARGS="tests/unit -k retry"
	@$(BIN)/$(if $(strip $(ARGS)),pytest --ignore=tests/benchmarks $(ARGS),python tests/lanes.py)

quick: setup ## the tests that need neither Envoy nor patience
	@$(BIN)/pytest --ignore=tests/benchmarks -m "not envoy and not slow" $(ARGS)

bench: setup ## the benchmarks: ratios of one run, against their targets
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

soak: setup ## an hour under load while certificates are replaced: make soak SOAK=600 for ten minutes
	@ISTIO_SOAK=$(SOAK) $(BIN)/pytest tests/faults/test_rotation.py

format: setup ## let ruff fix what it can
	@$(BIN)/ruff check --fix $(PACKAGES) tests
	@$(BIN)/ruff format $(PACKAGES) tests

demo: setup ## a real mesh with traffic on it; Ctrl-C ends it (make demo ARGS=--check proves it)
	@$(BIN)/istioctl demo $(ARGS)

lock: setup ## rewrite the lock files: make lock ARGS=--upgrade
	@requirements/lock $(ARGS)

clean: ## remove .venv and everything the tools made
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache build dist
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
