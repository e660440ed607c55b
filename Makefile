# Everything a newcomer needs: `make run`, `make test`. The environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow torture check format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP) ## make .venv with the pinned versions

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "error: $$($(PYTHON) --version) found, Python 3.11 or 3.12 needed: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[atari,envpool,humanoidbench,search,server,shadowhand,dev]'
	@touch $@

run: $(STAMP) ## train on three small tasks (about 5 minutes on 2 cores)
	$(BIN)/python -m agents.run $(ARGS)

test: $(STAMP) ## unit tests (about 2 minutes)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not sharding' $(ARGS)

test-slow: $(STAMP) ## kills and resumes, SLURM, MLflow, learning (about 20 minutes)
	@# The tests of SLURM share one cluster and mostly wait, so they go on in one process beside the others.
	@log=$$(mktemp); slurm="tests/test_slurm.py tests/test_ssh_slurm.py"; \
	{ $(BIN)/python -m pytest -q -m slow $$slurm $(ARGS); first=$$?; \
	  XLA_FLAGS=--xla_force_host_platform_device_count=8 $(BIN)/python -m pytest -q -m sharding $(ARGS) && exit $$first; } \
	  > $$log 2>&1 & beside=$$!; \
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m slow $$(printf -- '--ignore=%s ' $$slurm) $(ARGS); status=$$?; \
	wait $$beside || status=$$?; \
	cat $$log; rm $$log; exit $$status

torture: $(STAMP) ## a sweep on a SLURM of its own through 20 kills, requeues and time limits (needs root, slurm-wlm, munge)
	$(BIN)/python -m tests.torture $(ARGS)

check: $(STAMP) ## ruff, pyright, and what docstrings must say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m tests.docstrings

format: $(STAMP) ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
