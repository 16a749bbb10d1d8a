# Everything a newcomer or a machine runs. `make demo` and `make test` set up what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto
LOCK := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r
SELF := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

# Outside the locks: wheels of one release differ from machine to machine (CPU, CUDA), and so do their hashes.
TORCH ?= torch==2.13.0

PYTHONS ?= 3.12 3.13
PARALLEL := -n $(JOBS) --dist worksteal
DEFAULT := $(PARALLEL) -m "not bench and not slow and not long and not trainers"

.PHONY: help demo test test-long test-slow test-lowest test-pythons trainers test-trainers browser lint types bench schemas check lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.venv/run: requirements.lock pyproject.toml
	@test -d .venv || $(PYTHON) -m venv .venv
	$(LOCK) requirements.lock
	$(SELF)
	@touch $@

.venv/dev: requirements-dev.lock .venv/run
	$(LOCK) requirements-dev.lock
	$(SELF)
	@touch $@

.venv/trainers: requirements-trainers.lock .venv/dev
	$(LOCK) requirements-trainers.lock --no-deps
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@touch $@

demo: .venv/run ## Make a small demo, mix it half robot, half web, and check it; offline
	$(BIN)/rt2data demo demo --force
	$(BIN)/rt2data build-mixture --robot-frac 0.5 --overwrite
	$(BIN)/rt2data verify mixture

test: .venv/dev ## Run the tests that take a few minutes together
	$(BIN)/python -m pytest $(DEFAULT)

test-long: .venv/dev ## Run those of many whole builds: faults, formats, growth
	$(BIN)/python -m pytest $(PARALLEL) -m "long and not slow and not bench and not trainers"

test-lowest: ## Run the tests with the lowest versions that pyproject.toml allows, on Python 3.11
	tests/environments.sh lowest $(DEFAULT)

test-pythons: ## Run the tests on other Pythons, where they are installed: PYTHONS="3.12 3.13"
	tests/environments.sh "$(PYTHONS)" $(DEFAULT)

test-slow: .venv/dev ## Run the heavy tests, and the laws with all their examples
	$(BIN)/python -m pytest -m "slow and not bench and not trainers"
	RT2DATA_LAWS=1 $(BIN)/python -m pytest $(PARALLEL) -m "hypothesis and not bench and not trainers"

trainers: .venv/trainers ## Add torch, jax, Energon, grain, Hugging Face datasets and others to .venv

test-trainers: .venv/trainers ## Read and train with them; a package that is missing fails
	RT2DATA_TRAINERS=1 $(BIN)/python -m pytest $(PARALLEL) -m "trainers and not bench"

browser: ## Fetch what the report's browser tests need, but Chromium itself, which needs root
	tests/look/report/browser/install.sh

lint: .venv/dev ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev ## Types, strictly
	$(BIN)/mypy

schemas: .venv/dev ## Write schemas/*.schema.json and pipelines/*.metadata.json from the types
	$(BIN)/python -m rt2data.cli.schemagen

check: lint types test test-long test-slow test-trainers ## All that must pass

bench: .venv/dev ## Measure speed and memory against named baselines
	$(BIN)/python -m pytest -m bench -s tests/bench

# The image has no ray and no spark: Beam's workers never use them.
lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --group build --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements.lock
	uv pip compile pyproject.toml --group build --extra all --extra gcp --extra arrayrecord --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -c requirements.lock -o requirements-image.lock
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -q -c requirements.lock -o requirements-dev.lock
	echo torch | uv pip compile pyproject.toml --group trainers --excludes /dev/stdin --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -q -c requirements-dev.lock -o requirements-trainers.lock

clean: ## Remove what was made here
	rm -rf .venv .environments demo mixture dist bench-out
