# `make demo` and `make test` each work alone on a machine with Python 3.11.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

OLDEST := .venv-oldest

.PHONY: setup demo test lint types imports docs doctest unit axe test-oldest torture bench bench-guard bench-gpu gallery tutorials clean

setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)

# torch first and by its exact version, so that nothing pulls in another build of it;
# the oracles without their dependencies, because speechbrain asks for torchaudio, which tests replace by a stub
$(STAMP): $(BIN)/python pyproject.toml constraints.txt requirements-parity.txt
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e ".[dev,docs]"
	$(PIP) install -q --no-deps -r requirements-parity.txt
	touch $(STAMP)

demo: setup
	$(BIN)/otoscope demo

test: setup lint types imports docs doctest unit

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

unit:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations 10

# The accessibility checks of tests/browser need axe-core, which npm installs into build/node.
axe:
	npm install --silent --no-audit --no-fund --prefix build/node axe-core@4.14.1

# Builds the documentation as a site in build/site; a broken link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the examples of the documents.
doctest: setup
	OTOSCOPE_CACHE=build/cache OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal \
	    --doctest-glob "*.md" README.md CONTRIBUTING.md docs recipes

# Runs the tests with the oldest versions that pyproject.toml allows, in an environment of their own.
test-oldest: $(OLDEST)/.installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n 2 --dist worksteal -p no:cacheprovider

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt requirements-parity.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST) || python3 -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip --disable-pip-version-check install -q -c constraints-oldest.txt torch
	$(OLDEST)/bin/python -m pip --disable-pip-version-check install -q -c constraints-oldest.txt -e ".[test]"
	$(OLDEST)/bin/python -m pip --disable-pip-version-check install -q --no-deps -r requirements-parity.txt
	touch $@

# Make docs/gallery and the outputs of docs/tutorials again, after a change of the bundled model or of the pictures.
gallery: setup
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_gallery.py
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_audit_gallery.py

tutorials: setup
	OMP_NUM_THREADS=1 $(BIN)/python docs/run_tutorials.py

# Hostile files, and kills of running commands; takes long. Prints its counts, and fails if any fault is found.
# For example: make torture TORTURE="kills --cases kills=10"
torture: setup
	OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python -W ignore -m benchmarks.torture $(TORTURE)

# Compare the speed of two commits: make bench-guard BASE=main~3, or with options: make bench-guard GUARD="--pairs 3".
BASE ?= HEAD~1
bench-guard: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/guard.py --base $(BASE) $(GUARD)

# Run the measurements at full size on a CUDA device; without one it ends with exit code 2 and one line.
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py --out benchmarks/results/gpu.json $(GPU)

bench: setup
	$(BIN)/python benchmarks/train_step.py --width 64 --out benchmarks/results/train_step-narrow.json
	$(BIN)/python benchmarks/interpret.py --width 64 --out benchmarks/results/interpret-narrow.json
	$(BIN)/python benchmarks/train_step.py --method l2i --width 64 --out benchmarks/results/train_step-l2i-conv2d-narrow.json
	$(BIN)/python benchmarks/interpret.py --method l2i --width 64 --out benchmarks/results/interpret-l2i-conv2d-narrow.json
	$(BIN)/python benchmarks/train_step.py --classifier focalnet --width 16 --phase train --out benchmarks/results/train_step-piq-focalnet-narrow.json
	$(BIN)/python benchmarks/train_step.py --classifier vit --width 48 --phase train --out benchmarks/results/train_step-piq-vit-narrow.json
	$(BIN)/python benchmarks/amt.py --classifier focalnet --width 32 --out benchmarks/results/amt-focalnet-narrow.json
	$(BIN)/python benchmarks/amt.py --classifier vit --width 192 --out benchmarks/results/amt-vit-narrow.json
	$(BIN)/python benchmarks/nmf.py --epochs 2 --out benchmarks/results/nmf-short.json

clean:
	rm -rf $(VENV) $(OLDEST) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
