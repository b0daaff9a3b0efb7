# Every command of this repository. `make` alone lists them; each sets up what it needs.

VENV := .venv
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.setup-done
# Programs of the virtual environment first, so that nothing needs activating.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.uv: tools/uv.txt
	@echo "setup: virtual environment"
	@python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.packages: $(VENV)/.uv uv.lock pyproject.toml
	@echo "setup: Python packages from uv.lock"
	@$(VENV)/bin/uv sync --quiet --locked
	@touch $@

# The link puts `cdk8s` on the path of the activated environment, beside its `node`.
$(SETUP): $(VENV)/.packages package.json package-lock.json
	@echo "setup: cdk8s command line from package-lock.json"
	@npm ci --silent --ignore-scripts
	@ln -sf ../../node_modules/.bin/cdk8s $(VENV)/bin/cdk8s
	@touch $@

.PHONY: setup
setup: $(SETUP) ## Install everything into .venv and node_modules
