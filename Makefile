# `make quickstart` and `make test` work on a machine with python3 (3.11 or newer), pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart install install-dev test lint types pytest all-checks format benchmarks reliability clean

quickstart: install
	$(BIN)/lang-jepa quickstart

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --requirement requirements-dev.txt
	@touch $@ $(VENV)/.installed

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

pytest: install-dev
	$(BIN)/pytest -q -m "not network" -n 2

test: lint types pytest

all-checks: test
	$(BIN)/python -m pip check

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: install-dev
	$(BIN)/python benchmarks/sentences.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/sigreg.py
	$(BIN)/python benchmarks/costs.py
	$(BIN)/python benchmarks/gpt.py
	$(BIN)/python benchmarks/search.py 100000

reliability: install-dev
	$(BIN)/python scripts/reliability/kill.py 50
	$(BIN)/python scripts/reliability/flips.py
	$(BIN)/python scripts/reliability/full_disk.py
	$(BIN)/python scripts/reliability/fuzz.py
	$(BIN)/python scripts/reliability/custom_code.py
	$(BIN)/python scripts/reliability/odd_inputs.py
	$(BIN)/python scripts/reliability/architectures.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
