# One door for everything: `make` lists, CI uses the same targets as people.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test soak mutants check fix bench lock clean

help:  ## list what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.run  ## set up, then show the whole way on this machine: two syncs, a day of changes, the way back
	$(BIN)/python -m sandbox.demo

test: $(VENV)/.dev  ## set up, then run all tests
	$(BIN)/pytest -n auto --dist loadgroup $(ARGS)

soak: $(VENV)/.dev  ## set up, then kill a sync at every call and commit, fail every call, play DAYS times the random days (half an hour)
	SHOPSYNC_EVERY_CUT=1 $(BIN)/pytest -n 2 tests/flows/test_kill.py tests/flows/test_lost_answers.py
	SHOPSYNC_EVERY_CASE=1 $(BIN)/pytest -n 2 --dist loadgroup tests/cases
	SHOPSYNC_DAYS=$(DAYS) $(BIN)/pytest -n 2 tests/tasks/rules/test_stateful.py
DAYS := 10

mutants: $(VENV)/.dev  ## set up, then put each small mistake into the tables and the SQL of the rules, and tell which ones no test finds (hours)
	PYTHONPATH=. $(BIN)/python tests/mutants.py $(ARGS)

check: $(VENV)/.dev  ## formatter, linter, types, SQL, import contracts, dependencies
	@failed=0; for step in "ruff format --check ." "ruff check ." "mypy" "sqlfluff lint tasks" \
	  "lint-imports" "deptry ."; do \
	  echo "== $$step"; $(BIN)/$$step || failed=$$((failed + 1)); \
	done; echo "$$failed of 6 failed"; test $$failed -eq 0

fix: $(VENV)/.dev  ## let the formatters mend what they can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/sqlfluff fix --quiet tasks

bench: $(VENV)/.dev  ## measure speed, as ratios
	$(BIN)/python -m benchmarks

lock: $(VENV)/.dev  ## choose newer dependencies and write them down with their hashes
	$(BIN)/uv pip compile pyproject.toml --group build $(LOCK) -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev -c requirements.txt $(LOCK) -o requirements-dev.txt
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --allow-unsafe

clean:  ## remove the environment and what runs left behind
	rm -rf $(VENV) data/demo data/sandbox .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# The environment holds exactly what the lock says; --require-hashes refuses anything else.
$(VENV)/.run: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "shopsync needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/one")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	PREFECT_HOME=$(VENV)/prefect $(BIN)/prefect server database upgrade --yes >/dev/null  # the demo's; it takes long once
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	touch $@
