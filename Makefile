# Two commands do all the set-up: `make demo` and `make test`. Each makes .venv for itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-full lint types docs links bench mutants fuzz dist notebooks clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --editable '.[test,lint]'
	touch $@

# $(VENV)/.docs, .bench, .mutants: what these targets need on top of the tests
$(VENV)/.%: $(VENV)/.test
	$(PIP) --editable '.[$*]'
	touch $@

demo: $(VENV)/.base
	$(BIN)/theory demo --out demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

# The tests, and every .ipynb run afresh with its numbers compared.
test-full: test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m full tests/notebooks

lint: $(VENV)/.test
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m simulations.benchmarks --out docs

# The site in build/docs; a warning or a local link that leads nowhere is an error.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs
	$(BIN)/python docs/check_links.py build/docs

# Asks the addresses of other sites too; needs a network.
links: $(VENV)/.docs
	$(BIN)/python -m sphinx -b linkcheck docs build/links

# Every closed form and certificate, one constant or operator changed at a time; goes on where it was stopped.
mutants: $(VENV)/.mutants
	$(BIN)/python -m tests.mutants

fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs 100000 --jobs 2

# A wheel and an sdist, each installed into an empty environment and used.
dist: $(VENV)/.base
	$(PIP) build
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tests/check_dist.py dist

# Rewrites each .ipynb from its .py and runs it, so that the outputs in the repository are fresh.
notebooks: $(VENV)/.test
	$(BIN)/python -m simulations.notebooks

clean:
	rm -rf $(VENV) demo build dist
