# `make help` lists what can be made. Everything works from a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo check test test-fast test-long test-model test-mcp bench image clean
SHELL := /bin/bash
BIN := .venv/bin

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: host programs (apt) and .venv (pip)
	@tools/setup.sh

setup-tests:
	@tools/setup.sh tests

demo: setup ## The whole chain on a sample project: rehearse, read, approve, commit
	@$(BIN)/luminaguard image verify >/dev/null 2>&1 || $(BIN)/luminaguard image build
	@$(BIN)/python examples/demo/run.py

check: setup ## Every static gate: format, lint, types, layers, layout, docstrings, guarantees
	@tools/check.sh

test: setup-tests check ## All gates and the whole test suite, real VMs included, with the coverage ratchet
	@tools/test.sh all

test-fast: setup-tests ## The tests that need no VM
	@tools/test.sh fast

test-long: setup-tests ## Soaks and large figures as well (takes long)
	@tools/test.sh long

test-mcp: setup-tests ## The official MCP conformance suite, through the gateway and without it
	@tools/test_mcp.sh

test-model: setup-tests ## One call by a real, very small model through the whole chain (~180 MB)
	@tools/smoke_model.sh

bench: setup ## Measure the figures of this machine
	@$(BIN)/luminaguard image verify >/dev/null 2>&1 || $(BIN)/luminaguard image build
	@$(BIN)/luminaguard bench

image: setup ## Build the guest image
	@$(BIN)/luminaguard image build

clean: ## Remove what was built in this checkout (not the image cache)
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	@find src tests tools benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo "clean: removed .venv and what was built here"
