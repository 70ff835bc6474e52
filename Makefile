# Everything runs from locked, hashed packages: Python >= 3.11 and make are enough.
#   .tools  uv alone, installed by pip with --require-hashes from locks/uv.txt
#   .venv   what uv.lock names; the stamps in it say which groups are there and for which lock
# Written for GNU make 3.81 and a POSIX shell, so that it also runs on macOS.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first of these that is Python >= 3.11 and can make environments is used; `make PYTHON=/path/to/python3` overrides.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python

# Optional parts, for example: make install EXTRAS=nats
EXTRAS ?=

# Arguments for pytest, for example: make test ARGS='tests/domain -k life'
ARGS ?=

UV := .tools/bin/uv
BIN := .venv/bin

# uv works in .venv only and downloads no Python.
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV
# Where the system keeps certificates, they are what pip believes too, for example behind a proxy that inspects TLS.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS := true
endif
# --inexact: a smaller group never removes what a larger one installed, so the stamps stay true.
SYNC := $(UV) sync --quiet --frozen --inexact --no-build-isolation-package headgate
# Once at set-up instead of at every start of every process, where Python may not write beside its sources.
COMPILE := $(BIN)/python -m compileall -q -j 0 .venv src

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: .venv/.installed ## .venv/bin/headgate, ready to run; EXTRAS='nats' adds what that needs
	@$(if $(EXTRAS),$(SYNC) --no-default-groups $(addprefix --extra ,$(EXTRAS)))
	@echo "Ready: $(BIN)/headgate"

.PHONY: demo
demo: .venv/.installed ## an embedded Headgate with a campaign that opens within 20 seconds
	@$(BIN)/headgate demo

.PHONY: test
test: .venv/.developing ## the whole test suite; ARGS='…' are passed to pytest
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lint
lint: .venv/.developing ## style, types, import contracts, lock file
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(UV) lock --quiet --check

.PHONY: check
check: lint test ## what a change must pass: lint and test

.PHONY: bench
bench: .venv/.benching ## the canonical workload, with its environment
	@$(BIN)/python -m bench

.PHONY: bench-city
bench-city: .venv/.benching ## a whole city claims at once
	@$(BIN)/python -m bench.city

.PHONY: bench-crash
bench-crash: .venv/.benching ## kill -9 at twenty moments of a rush, and what was confirmed is still there
	@$(BIN)/python -m bench.crash

.PHONY: bench-scale
bench-scale: .venv/.benching ## nodes on PostgreSQL and Valkey: speed, and what a claim costs at each tier
	@$(BIN)/python -m bench.scale

.PHONY: bench-edge
bench-edge: .venv/.benching ## what nginx in front answers without a node
	@$(BIN)/python -m bench.edge

.PHONY: bench-faults
bench-faults: .venv/.benching ## the same faults for Headgate and for a design with its stock in Redis
	@$(BIN)/python -m bench.faults

.PHONY: soak
soak: .venv/.developing ## the long seeded simulation on all cores; a failure prints the seed that replays it
	@$(BIN)/python -m headgate.lab.simulation --seeds 50000

.PHONY: clean
clean: ## removes what was installed or cached; data directories stay
	@rm -rf .venv .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.tools/.installed: locks/uv.txt
	@python=""; \
	for candidate in $(PYTHON); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python >= 3.11 with venv and ensurepip was found among: $(PYTHON)." >&2; \
	  echo "Install one (Debian and Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	"$$python" -m venv --clear .tools && \
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: -r locks/uv.txt
	@touch $@

.venv/.created: .tools/.installed locks/build.txt
	@echo "Installing locked packages into .venv; the first time takes a minute …"
	@.venv/bin/python -c '' 2>/dev/null || $(UV) venv --quiet --clear --python .tools/bin/python .venv
	@$(UV) pip install --quiet --python .venv/bin/python --require-hashes -r locks/build.txt
	@touch $@

.venv/.installed: .venv/.created uv.lock pyproject.toml
	@$(SYNC) --no-default-groups
	@$(COMPILE)
	@touch $@

.venv/.developing: .venv/.created uv.lock pyproject.toml
	@$(SYNC) --no-default-groups --group test --group lint
	@$(COMPILE)
	@touch $@ .venv/.installed

.venv/.benching: .venv/.created uv.lock pyproject.toml
	@$(SYNC) --no-default-groups --group test --group lint --group bench
	@$(COMPILE)
	@touch $@ .venv/.developing .venv/.installed
