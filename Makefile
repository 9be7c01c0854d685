# Edgewright. `make help` lists what there is. Needs Python 3.11 or newer and make; npm for the live web page.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= data
SEED   ?= 1
ONLY   ?=
ARCH   ?= amd64
ARGS   ?=
INPUTS ?= 100000
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
SAY    := printf '%s\n'

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test up bench fuzz lint docs lock runtimes image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## the whole story on this machine in two minutes; SEED=n for another stream
	@$(BIN)/python -m simulators.demo --seed $(SEED)

up: $(VENV)/.installed ## start a controller on DATA=folder (default ./data)
	@$(BIN)/edgewright up --data $(DATA)

test: $(VENV)/.installed ## lint, types, layers, documentation and every test; ARGS='-k word' for some
	@$(SAY) 'test: first those that need the machine to themselves, then the others side by side'
	@$(BIN)/python -m pytest -q -m serial $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/python -m pytest -q -m 'not serial' -n 3 --dist loadfile $(ARGS)

lint: $(VENV)/.installed ## ruff, mypy --strict, import layers
	@$(BIN)/python -m pytest -q tests/house/test_style.py tests/house/test_architecture.py

bench: $(VENV)/.installed ## one JSON line a figure; ONLY=name[,name] for some
	@$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY))

fuzz: $(VENV)/.installed ## feed INPUTS=100000 inputs to every parser of foreign bytes; ONLY=name[,name]
	@$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(if $(ONLY),--only $(ONLY))

image: $(VENV)/.installed ## build a Debian root file system with the agent into ./images; ARCH=amd64|arm64
	@$(BIN)/python firmware-images/debian/build_image.py --arch $(ARCH) --out images

docs: $(VENV)/.installed ## write the generated parts of docs/reference again
	@$(BIN)/python docs/generate.py

lock: $(VENV)/.installed ## resolve requirements.lock again; ARGS=--upgrade for newer versions
	@$(SAY) 'lock: resolving'
	@$(PIP) 'uv>=0.13,<0.14'
	@$(BIN)/python .ci/lock $(ARGS)

runtimes: $(VENV)/.installed ## environments of toolchains, whose tests are skipped without them
	@.ci/runtimes

clean: ## remove the environments, the caches and the fetched web assets
	rm -rf $(VENV) .toolchains .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf controller/src/edgewright/controller/web/_assets agent/dist controller/dist
	find agent controller simulators models tests docs -name __pycache__ -prune -exec rm -rf {} +

# Two stamps: dependencies follow the lock, the editable installs follow the project files. With both in place a
# second `make` runs neither python nor pip.
$(VENV)/.dependencies: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  $(SAY) 'Edgewright needs Python 3.11 or newer; $(PYTHON) is missing or older.' \
	    'Install one and name it, for example: make PYTHON=python3.12 demo' >&2; exit 2; }
	@$(SAY) 'setup 1/2: dependencies into $(VENV), by hash (a minute or two, once)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-compile --require-hashes --requirement requirements.lock
	@# pip compiles on one core; some packages ship files for other Pythons that do not compile, and need not.
	@$(BIN)/python -m compileall -qq -j 2 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

$(VENV)/.installed: $(VENV)/.dependencies agent/pyproject.toml controller/pyproject.toml \
    controller/hatch_build.py controller/assets.lock
	@$(SAY) 'setup 2/2: edgewright-agent and edgewright-controller, with the web page'"'"'s assets'
	@$(PIP) --no-deps --no-build-isolation --editable agent --editable controller
	@$(BIN)/python controller/hatch_build.py || \
	  $(SAY) 'The page works without its assets, but shows no live updates and no charts.' >&2
	@touch $@
