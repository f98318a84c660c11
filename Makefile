# Two commands do all the set-up: `make demo` and `make test`. Each makes .venv for itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types bench notebooks clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --editable '.[test,lint]'
	touch $@

demo: $(VENV)/.base
	$(BIN)/theory demo --out demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

lint: $(VENV)/.test
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python -m simulations.benchmarks

# Rewrites each .ipynb from its .py and runs it, so that the outputs in the repository are fresh.
notebooks: $(VENV)/.test
	$(BIN)/python -m simulations.notebooks

clean:
	rm -rf $(VENV) demo
