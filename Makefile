# Two targets matter: `make demo` and `make test`. Each sets up what it needs, on a machine with Python 3.11+ and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Reading bytecode back is free; writing it for 200 packages at install time is half the set-up on a small machine.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help demo console setup test lint types tests bench drill picture pictures clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## Set up and run the demo: no key, no network
	@$(BIN)/stanchion demo

setup: $(VENV)/.installed-dev ## Set up for development

test: lint types tests ## Lint, type-check and test, as CI does

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.installed-dev
	$(BIN)/mypy

tests: $(VENV)/.installed-dev
	$(BIN)/pytest -q -n auto --dist loadfile

bench: $(VENV)/.installed-dev ## Measure beside the plain stack (see benchmarks/README.md)
	$(BIN)/python -m benchmarks

drill: $(VENV)/.installed ## Let every fault strike every model step of receipts (a minute)
	@$(BIN)/stanchion drill receipts

picture: $(VENV)/.installed ## Draw the README's picture again
	$(BIN)/stanchion graph receipts --svg docs/receipts.svg

pictures: $(VENV)/.installed-dev ## Draw docs/pictures again, in a real browser (five minutes); look at them
	STANCHION_PICTURES=1 $(BIN)/pytest -q -n0 tests/ui/browser

console: $(VENV)/.installed-dev ## The console on the demo's database
	@test -f .stanchion/demo.db || $(BIN)/stanchion demo
	$(BIN)/stanchion console --db .stanchion/demo.db

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Setting up in $(VENV) (a minute or two, once)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Setting up for development in $(VENV) (a minute or two, once)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean: ## Remove the environment, caches and the demo's database
	rm -rf $(VENV) .stanchion build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
