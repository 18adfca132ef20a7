# `make demo` builds a whole simulated shop, `make test` runs every test, `make ui` opens Dagster on what was built.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export INSIGHT_HOME ?= $(CURDIR)/insight_home

.PHONY: demo test ui lint clean

$(VENV)/.installed: pyproject.toml setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/insight demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

ui: $(VENV)/.installed
	$(BIN)/insight ui

lint: $(VENV)/.installed
	$(BIN)/ruff check insight_assets insight_assets_tests

clean:
	rm -rf $(VENV) insight_home build dist *.egg-info
