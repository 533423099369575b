# Everything below needs Python 3.10 or newer and make. It works in $(VENV) and folders beside it, runs/, site/, dist/ and
# pip's own cache.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIGHT := $(abspath $(VENV)-light)
DOCS := $(VENV)-docs
OLDEST := $(VENV)-oldest
PACKING := $(VENV)-packing

.PHONY: quickstart test test-quick test-light test-oldest light package docs torture mutants clean

# Of `make torture` and `make mutants`.
MINUTES ?= 60
SEED ?= 0
ONLY ?=
OUT ?= runs/stress/report.json
PROCESSES ?= 2
# Of `make test-oldest`: "not slow" leaves out what `make test-quick` does.
MARKED ?=

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

light: package  ## install what predicting with an exported file needs, from the wheel, without PyTorch, and try it
	rm -rf $(LIGHT)
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install --quiet dist/*.whl
	cd dist && $(LIGHT)/bin/tlaam --version && $(LIGHT)/bin/tlaam check --help >/dev/null

package:  ## build what is uploaded for a release into dist/, and check it
	rm -rf dist build $(PACKING)
	$(PYTHON) -m venv $(PACKING)
	$(PACKING)/bin/pip install --quiet build twine
	$(PACKING)/bin/python -m build --outdir dist . >/dev/null
	$(PACKING)/bin/twine check --strict dist/*
	rm -rf build $(PACKING)

torture: $(VENV)/.dev  ## attack the product (tests/stress/README.md): MINUTES=60 SEED=0 ONLY=images,manifests OUT=report.json
	PYTHONPATH=tests $(BIN)/python -m stress --out $(OUT) --minutes $(MINUTES) --seed $(SEED) --only "$(ONLY)"

mutants: OUT = runs/mutants/report.json
mutants: $(VENV)/.dev  ## change the source in small ways, and see whether a test notices (tests/mutation/README.md): ONLY=training,models/crops.py
	PYTHONPATH=tests $(BIN)/python -m mutation --out $(OUT) --minutes $(MINUTES) --processes $(PROCESSES) --only "$(ONLY)"

test-oldest:  ## pass the tests with the oldest releases that pyproject.toml admits, in an environment of its own
	rm -rf $(OLDEST)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet packaging $$($(PYTHON) -c "import sys; print('tomli' if sys.version_info < (3, 11) else '')")
	$(OLDEST)/bin/python tests/oldest.py >$(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --editable '.[test]' --constraint $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip check
	OMP_NUM_THREADS=1 $(OLDEST)/bin/pytest -n 2 --dist loadfile -m "$(MARKED)"

docs: $(DOCS)/.installed  ## build the docs as a site in site/; anything amiss is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --editable '.[docs]'
	touch $@

$(VENV)/.quickstart: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --editable '.[quickstart]'  # Python compiles what it imports
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev,pretrained]'
	touch $@ $(VENV)/.quickstart

clean:
	rm -rf $(VENV) $(LIGHT) $(DOCS) $(OLDEST) $(PACKING) site build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
