# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread per test process: several processes that each start a thread per core slow one another down.
TEST_ENV := OMP_NUM_THREADS=1
JOBS ?= 2
AUDIT_VENV ?= .venv-audit
AUDITED ?= constraints.txt

# Benchmarks (docs/performance.md): on an idle machine, for example `THREADS=2 make bench-step`.
THREADS ?= 1
BENCH_OPTIONS ?=
REPORTS := results/benchmarks
BENCHMARK = $(BIN)/python benchmarks/$(1).py --threads $(THREADS) $(BENCH_OPTIONS) --out $(REPORTS)/$(2).json
BENCHMARKS := step against-commit fused same-scores compiled grouped bilevel renderer generator peers reconstruction growth side-by-side batch-parts deterministic step-memory preparation

.PHONY: help install demo test test-full lint format docs clean audit bench bench-tables $(addprefix bench-,$(BENCHMARKS))

help:
	@echo "make demo       install, reconstruct the example images, write a gallery page"
	@echo "make test       install, lint, type check, fast tests"
	@echo "make test-full  make test and the slow tests"
	@echo "make docs       build the documentation site in site/ (warnings are errors)"
	@echo "make bench      all benchmarks, for hours (make bench-step and others: one; docs/performance.md)"
	@echo "make format     format the code"
	@echo "make audit      known weaknesses of the pinned packages, as advice"
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

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: $(addprefix bench-,$(BENCHMARKS)) bench-tables

bench-step: $(INSTALLED)
	$(call BENCHMARK,step,step) --presets compact
	$(call BENCHMARK,step,step-reference) --presets reference

bench-against-commit: $(INSTALLED)
	$(call BENCHMARK,against_commit,against_commit) --threads 2 --rounds 40
	$(call BENCHMARK,against_commit,against_commit-1-thread) --threads 1

bench-fused bench-compiled bench-grouped bench-bilevel bench-renderer bench-generator bench-peers bench-reconstruction bench-growth bench-deterministic bench-preparation: bench-%: $(INSTALLED)
	$(call BENCHMARK,$*,$*)

bench-step-memory: $(INSTALLED)
	$(call BENCHMARK,step_memory,step_memory)

bench-same-scores: $(INSTALLED)
	$(BIN)/python benchmarks/same_scores.py $(BENCH_OPTIONS) --out $(REPORTS)/same_scores.json

bench-batch-parts: $(INSTALLED)
	$(BIN)/python benchmarks/batch_parts.py $(BENCH_OPTIONS) --out $(REPORTS)/batch_parts.json

bench-side-by-side: $(INSTALLED)
	$(BIN)/python benchmarks/side_by_side.py $(BENCH_OPTIONS) --out $(REPORTS)/side_by_side.json

bench-tables: $(INSTALLED)
	$(BIN)/python tools/performance_tables.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In an environment of its own, since its packages are none of ours; it reports and never fails the build.
audit:
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet pip-audit
	-$(AUDIT_VENV)/bin/pip-audit --requirement $(AUDITED) --no-deps --disable-pip

clean:
	rm -rf $(VENV) $(AUDIT_VENV) demo
