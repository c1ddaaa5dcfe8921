# `make demo` and `make test` set themselves up: each has a virtual environment of its own.
PYTHON ?= python3
VENV_DEMO ?= .venv-demo
VENV_TEST ?= .venv-test
VENV_PADDLENLP ?= .venv-paddlenlp
# Tests run side by side, each with one OpenMP thread (tests/conftest.py).
WORKERS ?= auto

.PHONY: fuzz demo test lint unit test-paddlenlp bench clean

demo: $(VENV_DEMO)/ready
	$(VENV_DEMO)/bin/python examples/demo.py --output_dir outputs/demo

test: lint unit test-paddlenlp

lint: $(VENV_TEST)/ready
	$(VENV_TEST)/bin/ruff check .
	$(VENV_TEST)/bin/ruff format --check .
	$(VENV_TEST)/bin/lint-imports
	$(VENV_TEST)/bin/mypy

unit: $(VENV_TEST)/ready
	$(VENV_TEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal --durations=25 tests

test-paddlenlp:
	VENV=$(VENV_PADDLENLP) PYTHON=$(PYTHON) bash scripts/ci/paddlenlp_env.sh

# Loads mutated files for an hour; FUZZ='--time 36000 --seed 1000' for longer and for other mutations.
fuzz: $(VENV_TEST)/ready
	OMP_NUM_THREADS=1 $(VENV_TEST)/bin/python -m tests.fuzz $(FUZZ)

bench: $(VENV_TEST)/ready
	$(VENV_TEST)/bin/python benchmarks/bench.py

$(VENV_DEMO)/ready: pyproject.toml
	$(PYTHON) scripts/ci/check_python.py
	$(PYTHON) -m venv $(VENV_DEMO)
	$(VENV_DEMO)/bin/python -m pip install --quiet --upgrade pip
	$(VENV_DEMO)/bin/python -m pip install --quiet -e '.[cpu]'
	touch $@

$(VENV_TEST)/ready: pyproject.toml tests/requirements.txt
	$(PYTHON) scripts/ci/check_python.py
	$(PYTHON) -m venv $(VENV_TEST)
	$(VENV_TEST)/bin/python -m pip install --quiet --upgrade pip
	$(VENV_TEST)/bin/python -m pip install --quiet -e '.[cpu]' -r tests/requirements.txt
	touch $@

clean:
	rm -rf $(VENV_DEMO) $(VENV_TEST) $(VENV_PADDLENLP) outputs .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
