# Holdfast: every target does its own set-up on a fresh machine, into .venv, and reuses it the next time.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test check bench bench-audit bench-import bench-serving bench-training soak clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt scripts/setup.sh scripts/llama_wheel.py $(wildcard scripts/llama/*.py)
	@PYTHON=$(PYTHON) VENV=$(VENV) bash scripts/setup.sh
	@touch $@

setup: $(READY)  ## Make .venv, building llama.cpp once

demo: $(READY)  ## The main job, end to end, in a scratch home
	@$(BIN)/holdfast demo

test: $(READY)  ## The whole test suite: two processes, then the main job by itself, as its workers use every core
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/e2e
	@$(BIN)/python -m pytest tests/e2e

check: $(READY)  ## Lint, format, types, docstrings, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pydoclint --quiet src tui
	@$(BIN)/lint-imports

bench-audit: $(READY)  ## Measure the audit log; the last line is JSON
	@$(BIN)/python -m scripts.bench_audit

bench-import: $(READY)  ## Measure the import of a 2 GB base and of a delta; the last line is JSON
	@$(BIN)/python scripts/bench_import.py

bench-training: $(READY)  ## Measure training against a plain TRL script; the last line is JSON
	@$(BIN)/python scripts/bench_training.py

bench-serving: $(READY)  ## Measure serving against llama-server of the same source, built once; the last line is JSON
	@$(BIN)/python -m scripts.bench_serving

bench: bench-audit bench-import bench-training bench-serving  ## All of these, one after the other

soak: $(READY)  ## 500 rounds of SIGKILL under load, ten minutes of hostile files against readers, properties drawn anew
	@$(BIN)/python -m scripts.soak_kills --rounds 500
	@$(BIN)/python scripts/fuzz_formats.py 600
	@$(BIN)/python -m pytest --hypothesis-profile=explore tests/property tests/unit

clean:  ## Remove what set-up made in this folder (the llama.cpp cache stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
