# Everything from nothing but Python 3.11 (or newer) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/stamp

.PHONY: demo picture test lint format clean .venv

demo: $(STAMP)  # from the shipped sweep to advice for a network three times larger; under two minutes
	$(BIN)/python -m bayeslaw.demo

picture: $(STAMP)  # the figure of the README
	$(BIN)/python -m bayeslaw.example
	cp out/example/recommendation.png docs/recommendation.png

test: lint  # what CI runs
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv: $(STAMP)

# Rebuilt when pyproject.toml changes; the stamp appears only after a complete install.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev,train,ray]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
