# Everything runs in .venv, which `make` sets up by itself: it needs Python 3.11+ and a package index.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
PYTHON ?= python3
BIN := .venv/bin
BENCH ?= --records 31053 1000000
unexport PYTHONDONTWRITEBYTECODE # else each of the many processes that tests start compiles the package anew

.PHONY: help install demo check test quick snapshots bench lock schema starters clean

help: ## Show what there is to do
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed ## Set up .venv with llmsynthor and the development tools

.venv/.installed: requirements-dev.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "llmsynthor needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch .venv/.installed

demo: install ## Run the main job on real tables with recorded replies: no key, no network
	$(BIN)/python -m llmsynthor run configs/trips.yaml --overwrite

check: install ## Check format, lint, types and generated files
	$(BIN)/ruff format --check llmsynthor tests benchmarks configs
	$(BIN)/ruff check llmsynthor tests benchmarks configs
	$(BIN)/mypy
	$(BIN)/python -m llmsynthor schema | diff - docs/job.schema.json
	$(BIN)/python -m llmsynthor schema --markdown | diff - docs/job-reference.md

test: install ## Run all tests, on all cores; HYPOTHESIS_PROFILE=random draws other examples
	$(BIN)/python -m pytest -q -n auto --dist worksteal

quick: install ## Run the tests that take little time, on all cores
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not live and not slow"

snapshots: install ## Write the reviewed prompts and messages of wrong jobs anew
	REGENERATE=1 $(BIN)/python -m pytest -q tests/llm/test_prompts.py tests/job/test_wrong_jobs.py

bench: install ## Compare with other tools: DATA=folder with data/ and recordings/; else time the examples
	$(if $(DATA),$(BIN)/python benchmarks/compare.py --data "$(DATA)",$(BIN)/python benchmarks/run.py $(BENCH))

lock: install ## Write the lock files anew from pyproject.toml
	for extra in "" "-dev"; do $(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml $${extra:+--group dev} -o "requirements$$extra.lock"; done

schema: install ## Write what docs are made from the code: job.schema.json, job-reference.md, architecture.md
	$(BIN)/python -m llmsynthor schema > docs/job.schema.json
	$(BIN)/python -m llmsynthor schema --markdown > docs/job-reference.md
	$(BIN)/python tests/worlds/architecture.py

starters: install ## Cut the starter jobs' tables and recordings out of configs/ anew
	$(BIN)/python configs/make_starters.py

clean: ## Remove .venv, caches and runs
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
