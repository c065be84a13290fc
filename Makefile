# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread per test process: several processes that each start a thread per core slow one another down.
TEST_ENV := OMP_NUM_THREADS=1
JOBS ?= 2

.PHONY: help install demo test test-full lint format clean

help:
	@echo "make demo       install, reconstruct the example images, write a gallery page"
	@echo "make test       install, lint, type check, fast tests"
	@echo "make test-full  make test and the slow tests"
	@echo "make format     format the code"
	@echo "make clean      remove the environment and generated files"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/scr3d reconstruct examples --out demo

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-full: lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo
