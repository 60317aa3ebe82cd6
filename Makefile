# `make quickstart` and `make test` work on a machine with python3 (3.11 or newer), pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[evaluate,hub]"

.PHONY: quickstart install install-dev test lint types pytest all-checks format docs benchmarks pictures reliability clean

quickstart: install
	$(BIN)/lang-jepa quickstart

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), a minute or more ..."
	$(INSTALL)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt requirements-dev.txt | $(BIN)/python
	$(INSTALL) --requirement requirements-dev.txt
	@touch $@ $(VENV)/.installed

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

pytest: install-dev
	$(BIN)/pytest -q -m "not network" -n 2 --dist loadfile --no-loadscope-reorder

test: lint
	+$(MAKE) --jobs=2 types pytest

all-checks: test
	$(BIN)/python -m pip check

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev
	$(BIN)/zensical build --clean --strict

benchmarks: install-dev
	$(BIN)/python benchmarks/table.py

# Ends with 3 where there is no browser for the page of `lang-jepa serve`.
pictures: install-dev
	$(BIN)/python scripts/pictures.py

# All of them, whatever one says; the last line, and the exit code, tell what failed and what could not be run.
RELIABILITY := "kill.py 50" flips.py full_disk.py fuzz.py custom_code.py odd_inputs.py architectures.py cluster.py
reliability: install-dev
	@failed=; skipped=; for script in $(RELIABILITY); do \
		echo "$$script"; status=0; $(BIN)/python scripts/reliability/$$script || status=$$?; \
		case $$status in 0) ;; 3) skipped="$$skipped $${script%% *}";; *) failed="$$failed $${script%% *}";; esac; \
	done; \
	echo "failed:$${failed:- none}; not run:$${skipped:- none}"; \
	if [ -n "$$failed" ]; then exit 1; elif [ -n "$$skipped" ]; then exit 3; fi

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
