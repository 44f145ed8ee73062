# `make demo` and `make test` need nothing but Python 3.11 or later and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: install demo test test-slow check format
install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/tltrain demo

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
