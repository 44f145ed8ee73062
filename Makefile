# `make demo` and `make test` need nothing but Python 3.11 or later and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: install demo table evidence test test-slow check format
install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/tltrain demo

# The built-in model and the demo's, or another, on every test set at hand, side by side: runs/table/comparison.md.
# DATA is a folder of test sets; those it lacks, and all where it is not given, are taken from where `tltrain fetch` puts
# them. A stopped run goes on with the same command.
MODEL ?= runs/demo/ppo/model
LIMIT ?= 20
TOKENS ?= 128
STEPS ?= 5
TABLE ?= runs/table
table: install
	$(BIN)/tltrain fetch bfcl
	$(BIN)/tltrain eval base=smollm2-135m trained=$(MODEL) --bench all $(if $(DATA),--data $(DATA)) \
		--limit $(LIMIT) --max-new-tokens $(TOKENS) --max-steps $(STEPS) --out $(TABLE)

# The experiments behind docs/EVIDENCE.md, or those named in ONLY: results in results/, a table of them and of their
# estimated times first. A stopped run goes on with the same command.
ONLY ?=
evidence: install
	$(BIN)/python benchmarks/evidence.py $(ONLY)

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff format --check tltrain tests benchmarks
	$(BIN)/ruff check tltrain tests benchmarks
	$(BIN)/mypy

format: install
	$(BIN)/ruff format tltrain tests benchmarks
	$(BIN)/ruff check --fix tltrain tests benchmarks
