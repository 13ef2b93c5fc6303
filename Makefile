# `make run`: everything a new user needs, then the workflow. `make test`: the same set-up, then the tests.
.PHONY: run demo test test-kill test-cluster setup lint format docs bench gpu-check clean

PYTHON ?= python3
CORES ?= all
WORKERS ?= 2
PIP := pip==26.3
BIN := .venv/bin

# Jobs call `lape` and `snakemake`: put the environment's first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Python keeps what it compiles, also where the environment says no: every job would compile its libraries anew.
export PYTHONDONTWRITEBYTECODE :=

# LAPE_PLAN lets the run say first how long it takes on this machine.
# A killed Snakemake leaves its lock behind; it is lifted where the last `make run` was on this machine and no Snakemake
# runs on it.
run: setup
	@if [ -n "$$(ls .snakemake/locks 2>/dev/null)" ] && [ "$$(cat .venv/ran-on 2>/dev/null)" = "$$(hostname)" ] && \
	command -v pgrep >/dev/null && ! pgrep -x snakemake >/dev/null; \
	then echo "an earlier run was killed: lifting its lock"; snakemake --unlock; fi
	@hostname > .venv/ran-on
	@LAPE_PLAN=1 snakemake --cores $(CORES)

# A language's neurons off and on in a small model.
demo: setup
	@$(BIN)/lape demo

# A worker takes whole files of tests, the longest first; their jobs and kernels have a core each. Threads that wait
# leave theirs to others, which halves the time of tests with several threads.
test: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

# Twenty whole runs, each killed once: half an hour.
test-kill: setup
	$(BIN)/python -m pytest -m exhaustive tests/workflow/test_kill.py

# A Slurm of two nodes on this machine, from Debian's packages, which are not installed here: skipped without them.
test-cluster: setup
	$(BIN)/python -m pytest -rs tests/workflow/cluster

setup: .venv/built

# This pip needs a quarter of the time of the one that comes with Python 3.11 to find what fits together.
# --no-compile: Python compiles what it imports, and of most packages that is little.
.venv/installed: envs/requirements.txt envs/requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lape needs Python 3.11 or newer; set PYTHON")'
	@echo "installing the pinned packages into .venv: a minute, or some where torch is still to be fetched"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --quiet $(PIP)
	@$(BIN)/python -m pip install --quiet --quiet --no-compile $(addprefix --requirement ,$^)
	@touch $@

# The extension is compiled against the torch that is installed: no build isolation.
.venv/built: .venv/installed setup.py pyproject.toml $(wildcard csrc/*)
	@echo "building the extension"
	@$(BIN)/python -m pip install --quiet --quiet --no-build-isolation --no-deps --editable .
	@$(BIN)/lape info > $@ && sed -n '/^device/,$$p' $@

CPP = $(wildcard csrc/*.cpp csrc/*.h csrc/*.cu csrc/*.cuh tests/helpers/emulated_cuda/*)

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	clang-format --dry-run --Werror $(CPP)
	snakemake --lint

format: setup
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules
	$(BIN)/python tests/helpers/config_tables.py
	$(BIN)/python tests/helpers/item_list.py
	$(BIN)/python tests/helpers/presets.py
	clang-format -i $(CPP)

# The site of docs/, in build/site; NO_MKDOCS_2_WARNING: without the advertisement of MkDocs' successor.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "open build/site/index.html"

# What the engine costs beside what else counts activations: a table, and JSON in bench/results. Under 5 minutes.
bench: setup .venv-bench/installed
	.venv-bench/bin/python -m bench.engine

# The other tools bring many packages of their own; the extension is the one that `setup` built in place.
.venv-bench/installed: envs/requirements.txt envs/requirements-bench.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --requirement envs/requirements.txt --requirement envs/requirements-bench.txt
	touch $@

# On a GPU machine whose Python has torch, transformers and pytest: nothing is installed. With the
# pinned Snakemake and pandas the whole workflow runs, too.
gpu-check:
	$(PYTHON) setup.py --quiet build_ext --inplace
	$(PYTHON) -m pytest -m cuda -rs tests/kernels tests/model/test_ffn.py tests/expert_units/test_average_precision.py tests/expert_units/test_responses.py tests/interventions/test_overwriting.py tests/machine/test_memory.py tests/workflow/test_paper.py
	$(PYTHON) -m bench.engine --device cuda

clean:
	rm -rf .venv .venv-bench build lape.egg-info lape/kernels/_C*.so
