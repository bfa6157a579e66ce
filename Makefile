# Everything from nothing but Python 3.11 (or newer) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test lint format clean

demo: .venv.stamp            ## from the shipped posterior to a recommendation
	$(BIN)/python -m bayeslaw.demo

test: lint                   ## what CI runs
	$(BIN)/pytest

lint: .venv.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Rebuilt when pyproject.toml changes; the stamp appears only after a complete install.
.venv.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: .venv
.venv: .venv.stamp

clean:
	rm -rf .venv .venv.stamp .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
