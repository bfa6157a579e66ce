# Everything from nothing but Python 3.11 (or newer) and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/stamp

.PHONY: demo picture notebooks docs site test quick test-all lint format clean .venv

demo: $(STAMP)  # from the shipped sweep to advice for a network three times larger; under two minutes
	$(BIN)/python -m bayeslaw.demo

picture: $(STAMP)  # the figure of the README
	$(BIN)/python -m bayeslaw.demo.simulated
	cp out/example/recommendation.png docs/recommendation.png

notebooks: $(STAMP)  # executed copies to look at, in out/notebooks
	mkdir -p out/notebooks
	for each in notebooks/*.py; do \
	  $(BIN)/jupytext --quiet --to ipynb --execute --output out/notebooks/$$(basename $$each .py).ipynb $$each || exit 1; \
	done

docs: $(STAMP)  # the generated parts of docs/
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/theory_figures.py

site: $(STAMP)  # the documentation as a site, out/site/index.html; reading it needs no network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict --quiet

# Bytecode is kept, whatever the shell says: the tests start hundreds of interpreters.
export PYTHONDONTWRITEBYTECODE =

# Two processes, a file in one of them; one thread each, so that they do not wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP)  # what CI runs: all but the slow tests, while the types are checked
	$(MAKE) --no-print-directory --jobs 2 lint quick

quick: $(STAMP)
	$(PYTEST) -m "not slow"

test-all: lint  # everything, the slow tests too: before a release, or after a change to what they test
	$(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv: $(STAMP)

# Rebuilt when pyproject.toml changes; the stamp appears only after a complete install. Bytecode is written for what is
# imported, not for all 20,000 files.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --editable '.[dev,train,ray,notebooks]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
