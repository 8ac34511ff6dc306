# `make demo` and `make test` each work alone on a machine with Python 3.11.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint types imports docs unit bench clean

setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)

# torch first and by its exact version, so that nothing pulls in another build of it;
# the oracles without their dependencies, because speechbrain asks for torchaudio, which tests replace by a stub
$(STAMP): $(BIN)/python pyproject.toml constraints.txt requirements-parity.txt
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	$(PIP) install -q --no-deps -r requirements-parity.txt
	touch $(STAMP)

demo: setup
	$(BIN)/otoscope demo

test: setup lint types imports docs unit

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

unit:
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations 10

# runs the examples of the documents
docs: setup
	OTOSCOPE_CACHE=build/cache $(BIN)/pytest --doctest-glob "*.md" README.md CONTRIBUTING.md docs recipes

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
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
