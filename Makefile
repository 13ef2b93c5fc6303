# `make run`: everything a new user needs, then the workflow. `make test`: the same set-up, then the tests.
.PHONY: run test setup lint format gpu-check clean

PYTHON ?= python3
CORES ?= all
BIN := .venv/bin

# Jobs call `lape` and `snakemake`: put the environment's first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# A killed Snakemake leaves its lock behind; it is lifted where the last `make run` was on this machine and no
# Snakemake runs on it.
run: setup
	@if [ -n "$$(ls .snakemake/locks 2>/dev/null)" ] && [ "$$(cat .venv/ran-on 2>/dev/null)" = "$$(hostname)" ] && \
	command -v pgrep >/dev/null && ! pgrep -x snakemake >/dev/null; \
	then echo "an earlier run was killed: lifting its lock"; snakemake --unlock; fi
	@hostname > .venv/ran-on
	snakemake --cores $(CORES)

test: setup
	$(BIN)/python -m pytest

setup: .venv/built

.venv/installed: envs/requirements.txt envs/requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lape needs Python 3.11 or newer; set PYTHON")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --requirement envs/requirements.txt --requirement envs/requirements-dev.txt
	touch $@

# The extension is compiled against the torch that is installed: no build isolation.
.venv/built: .venv/installed setup.py pyproject.toml $(wildcard csrc/*)
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	$(BIN)/lape info
	touch $@

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	clang-format --dry-run --Werror $(wildcard csrc/*.cpp csrc/*.h csrc/*.cu csrc/*.cuh)
	snakemake --lint

format: setup
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules
	clang-format -i $(wildcard csrc/*.cpp csrc/*.h csrc/*.cu csrc/*.cuh)

# On a GPU machine whose Python has torch, transformers and pytest: nothing is installed.
gpu-check:
	$(PYTHON) setup.py --quiet build_ext --inplace
	$(PYTHON) -m pytest -m cuda -rs

clean:
	rm -rf .venv build lape.egg-info lape/_C*.so
