# Everything this project does for its users and developers. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CLUSTER ?= embedded
OPERATOR_IMAGE ?= tfserving-operator:dev
PYTHON := .venv/bin/python
RUN := .venv/bin

# Where Python is told to keep no bytecode, each of the many processes that tests start compiles its libraries again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/synced ## A model served on a real cluster: CLUSTER=embedded (default) or CLUSTER=current (your kubeconfig's)
	@OPERATOR_IMAGE=$(OPERATOR_IMAGE) $(PYTHON) -m e2e.demo up --cluster $(CLUSTER)

.PHONY: demo-down
demo-down: .venv/synced ## Remove all that `make demo` made
	@$(PYTHON) -m e2e.demo down --cluster $(CLUSTER)

.PHONY: test
test: lint test-unit test-e2e ## All checks and tests, as CI runs them

.PHONY: test-unit
test-unit: .venv/synced ## Unit and property tests: the fast loop, one to three minutes
	$(RUN)/pytest tests --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist worksteal

.PHONY: test-e2e
test-e2e: .venv/synced ## End-to-end tests on the embedded cluster
	@$(PYTHON) -m e2e.cluster build
	$(RUN)/pytest e2e

.PHONY: lint
lint: .venv/synced ## Style, format, types, import contracts, generated files up to date
	$(RUN)/ruff check
	$(RUN)/ruff format --check --quiet
	$(RUN)/mypy
	$(RUN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory generate CHECK=--check

.PHONY: format
format: .venv/synced ## Put all Python into the project's format
	$(RUN)/ruff check --fix --select I
	$(RUN)/ruff format

.PHONY: generate
generate: .venv/synced ## Write what is generated: the CRD, the chart's copy of it, docs/api.md and settings.md, wire formats
	$(PYTHON) scripts/generate.py $(CHECK)
	$(PYTHON) scripts/generate_wire_formats.py $(CHECK)
	$(PYTHON) -m e2e.modelserver.wire.compile $(CHECK)
	$(PYTHON) -m e2e.cluster.gpu.compile $(CHECK)

.PHONY: image
image: ## Build the operator's image with docker, podman or buildah: OPERATOR_IMAGE=name:tag
	@builder=$$(for tool in docker podman buildah; do command -v $$tool && break; done) || { echo "docker, podman or buildah is needed to build an image" >&2; exit 1; }; \
	"$$builder" build --tag $(OPERATOR_IMAGE) .

# The environment is made anew only when what it is made from has changed.
.venv/synced: uv.lock pyproject.toml scripts/uv
	@scripts/uv sync-locked
	@touch $@
