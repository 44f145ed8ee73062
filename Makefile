# `make demo` and `make test` need nothing but Python 3.11 or later and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: install demo table evidence test test-slow test-integrations docs check format
install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/tltrain demo

# The built-in model and the demo's, or another, on every test set at hand, side by side: runs/table/comparison.md.
# DATA is a folder of test sets; those it lacks, and all where it is not given, are taken from where `tltrain fetch` puts
# them. An interrupted run resumes with the same command.
MODEL ?= runs/demo/sft/mae/model
LIMIT ?= 20
TOKENS ?= 128
STEPS ?= 5
TABLE ?= runs/table
table: install
	$(BIN)/tltrain fetch bfcl
	$(BIN)/tltrain eval base=smollm2-135m trained=$(MODEL) --bench all $(if $(DATA),--data $(DATA)) \
		--limit $(LIMIT) --max-new-tokens $(TOKENS) --max-steps $(STEPS) --out $(TABLE)

# The experiments behind docs/EVIDENCE.md, or those named in ONLY: results in results/, a table of them and of their
# estimated times first. An interrupted run resumes with the same command.
ONLY ?=
evidence: install
	$(BIN)/python benchmarks/evidence.py $(ONLY)

# One process for each core, each with a single thread: less time than one process with all threads.
# Files in their own order: by default those with the most tests come first, and the slowest, which have few, last.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: install
	$(BIN)/python -m pytest -m slow

# verl and ms-swift want other versions of transformers and datasets than tltrain, and than each other: each gets an
# environment of its own. verl is installed without its dependencies, of which its reward and data loaders need these.
VERL := $(VENV)-verl
SWIFT := $(VENV)-swift
test-integrations: install
	$(BIN)/python -m pytest tests/test_integrations.py -k trl
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(VERL)/bin/python -m pip install --quiet --no-deps 'verl==0.9.1' 'tensordict==0.10.0' 'torchdata==0.11.0'
	$(VERL)/bin/python -m pip install --quiet hydra-core codetiming 'ray>=2.41' aiohttp orjson cloudpickle pyvers
	$(VERL)/bin/python -m pytest tests/test_integrations.py -k verl
	$(PYTHON) -m venv $(SWIFT)
	$(SWIFT)/bin/python -m pip install --quiet --editable . 'pytest>=9,<10' 'hypothesis>=6.130,<7' 'ms-swift==4.6.0'
	$(SWIFT)/bin/python -m pytest tests/test_integrations.py -k swift

# The site in build/site: broken links, and anything loaded from other hosts, are errors. It can be opened as files; search
# needs a server: `$(BIN)/mkdocs serve`, or `python -m http.server -d build/site`.
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo written: build/site/index.html

check: install
	$(BIN)/ruff format --check tltrain tests benchmarks docs examples
	$(BIN)/ruff check tltrain tests benchmarks docs examples
	$(BIN)/mypy

format: install
	$(BIN)/ruff format tltrain tests benchmarks docs examples
	$(BIN)/ruff check --fix tltrain tests benchmarks docs examples
