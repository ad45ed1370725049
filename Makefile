# Every target sets up what it needs, from nothing but python3 (3.11 or newer), make and git.

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .bootstrap/bin/uv
# Compiling once makes every later start faster.
SYNC := UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never $(UV) sync --quiet --frozen --extra cpu
BIN := .venv/bin
SETUP := .venv/.synced

.PHONY: help setup demo test check test-models torture bench ui clean

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | while IFS="$$(printf '\t')" read -r n d; do printf '  make %-12s %s\n' "$$n" "$$d"; done

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "setting up .bootstrap (uv $(UV_VERSION))"
	@$(PYTHON) -m venv .bootstrap
	@.bootstrap/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(SETUP): pyproject.toml uv.lock | $(UV)
	@echo "setting up .venv from uv.lock"
	@$(SYNC) --python $(PYTHON)
	@touch $@

setup: $(SETUP) ## Make .venv with everything pinned in uv.lock

demo: $(SETUP) ## Index this very repository, verify and publish it, and search it
	@sh docs/demo.sh $(BIN)

test: $(SETUP) ## Run the tests
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

test-models: $(SETUP) ## Run the tests that need a model runtime, Node.js or a GPU (skipped where there is none)
	@$(BIN)/pytest -m "models or node or gpu" -rs || test $$? -eq 5

torture: $(SETUP) ## Kill, fail and damage everything everywhere (minutes)
	@$(BIN)/pytest -m torture -n auto --dist worksteal -rs

check: $(SETUP) ## Lint, format, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(SETUP) ## Measure the claims of the README against semble and archex
	@$(BIN)/python benchmarks/main_job.py

ui: $(SETUP) ## Open the Dagster UI over the store of this checkout
	@$(BIN)/indexctl ui

clean: ## Remove the environments and caches, but no index
	@rm -rf .venv .bootstrap .mypy_cache .ruff_cache .pytest_cache
