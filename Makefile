# The README's two commands are `make run` and `make test`; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test quick soak clients upstream browser cluster gpu check bench llama-server clean

run: .venv/run.stamp
	@$(BIN)/llama-tandem serve --config demo/tandem.yaml

test: .venv/test.stamp .cache/pinned-clients.stamp check
	scripts/run-tests all

# Between two edits: lint, types, import contracts and unit tests.
quick: .venv/test.stamp
	scripts/run-tests quick

# Random input, for SOAK_SECONDS a test.
soak: .venv/test.stamp
	scripts/run-tests soak

# Real clients from the npm registry; without node it says what it skips.
clients: .venv/test.stamp
	scripts/run-clients $(BIN)/python

# llama.cpp's own server tests, directly and through the gateway; with UPSTREAM_TESTS=all the slow ones too.
upstream: .venv/test.stamp
	scripts/run-upstream $(BIN)/python

# The page in Debian's Chromium, which it installs; pictures of each view go to $SCREENSHOTS.
browser: .venv/test.stamp
	scripts/run-browser

# Engines on several nodes of a real Ray cluster, which it installs; nodes, agents and the gateway are killed.
cluster: .venv/test.stamp
	scripts/run-cluster

# Memory of a real NVIDIA card, with a llama-server that it builds; skipped where there is none.
gpu: .venv/test.stamp
	scripts/run-gpu

check: .venv/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	VENV_BIN=$(BIN) scripts/check-docker

bench: .venv/test.stamp
	$(BIN)/python -m benchmarks

llama-server:
	scripts/install-llama-server

# pip takes seconds even when there is nothing to do, so it runs only when pyproject.toml has changed.
.venv/run.stamp: pyproject.toml
	scripts/install-venv "$(PYTHON)" embedded
	@touch $@

.venv/test.stamp: pyproject.toml
	scripts/install-venv "$(PYTHON)" embedded,test,dev
	@touch $@ .venv/run.stamp

.cache/pinned-clients.stamp: scripts/install-pinned-clients
	scripts/install-pinned-clients "$(PYTHON)"
	@touch $@

clean:
	rm -rf .venv .cache tests/clients/node_modules build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
