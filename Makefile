# imagespec: every target says what it does; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test campaigns lint types fmt golden bench bench-compare bench-table clean testbed-up testbed-down

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with imagespec (editable) and the tools for development

$(READY): pyproject.toml
	@echo "setup: a virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "setup: Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12 setup"; exit 1; }
	@$(PYTHON) -m venv .venv > .venv.log 2>&1 || $(MAKE) --no-print-directory venv-from-debian
	@rm -f .venv.log
	@echo "setup: imagespec and its tools, from the package index"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

.PHONY: venv-from-debian
venv-from-debian:
	@test "$$(id -u)" = 0 && command -v apt-get > /dev/null || { cat .venv.log; exit 1; }
	@echo "setup: python3-venv is missing: installing Debian's package"
	@rm -rf .venv && apt-get update -qq && apt-get install -y -qq python3-venv > /dev/null && $(PYTHON) -m venv .venv

demo: $(READY) ## the main job on real input: build, push, run, reuse, rebuild one layer
	@$(PYTHON) testdata/demo/demo.py

test: lint types ## lint, types and all tests, on a test-bed of their own
	@# As an installation has it: the tests start hundreds of commands, also where Python is told to write no bytecode.
	@$(BIN)/python -m compileall -q builder
	@$(BIN)/python -m pytest

campaigns: $(READY) ## the long forms of tests that make test runs short: thousands of trees, fifty killed builds
	@IMAGESPEC_TEST_TREES=4000 $(BIN)/python -m pytest -q tests/property/test_ignore_git.py
	@IMAGESPEC_TEST_TREES=400 $(BIN)/python -m pytest -q tests/property/test_ignore_docker.py
	@IMAGESPEC_KILLS=50 $(BIN)/python -m pytest -q tests/integration/daemonless/test_killed.py

lint: $(READY) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "lint: run make fmt"; exit 1; }

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

fmt: $(READY) ## format the code, and mend what ruff can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

golden: $(READY) ## write testdata/golden anew, after a deliberate change
	@$(BIN)/python -m tests.golden.rewrite

bench: $(READY) ## side-by-side benchmarks, and their page: make bench [ONLY=part] [STEP=step] [OUT=file.json] [QUICK=1]
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(STEP),--step $(STEP)) $(if $(OUT),--out $(OUT)) $(if $(QUICK),--quick)

bench-compare: ## name the rows whose ratio fell by more than the spread: make bench-compare A=old.json B=new.json
	@bench/compare $(A) $(B)

bench-table: ## put a report's tables into README.md and docs/performance.md: make bench-table RESULT=file.json
	@$(PYTHON) -m bench.table $(RESULT) docs/performance.md
	@$(PYTHON) -m bench.table --short $(RESULT) README.md

testbed-up: ## start the engine, the registries and the base images that tests use
	@$(PYTHON) testdata/testbed/bed.py up

testbed-down: ## stop what testbed-up started
	@$(PYTHON) testdata/testbed/bed.py down

clean: ## remove what was made here (.venv, caches, builds); the test-bed's cache stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist bench/report.html
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
