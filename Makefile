# `make compare` trains both implementations and compares them; `make test` checks everything.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help compare test gpu-check bench lock clean

help:
	@echo "make compare   train both implementations on the real digits and compare them"
	@echo "make test      lint, format check, type check, architecture test and all tests"
	@echo "make gpu-check run everything that needs a GPU, in at most ten minutes"
	@echo "make bench     time both implementations against what else one could write"
	@echo "make lock      resolve requirements.lock anew (needs uv)"
	@echo "make clean     remove the virtual environment and the runs"

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

compare: $(INSTALLED)
	$(BIN)/mnist-compare run

test: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadscope

gpu-check: $(INSTALLED)
	$(BIN)/python -m tests.gpu

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

# Keeps the versions that are locked; delete a line of the lock file to let its package move.
lock:
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra jax --extra study --extra dev \
		--generate-hashes --no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf .venv runs
