# Two commands set everything up on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Linux the newest torch brings gigabytes of CUDA libraries. The constraints pin a release; set TORCH_CONSTRAINTS=
# (empty) to take what pip chooses.
TORCH_CONSTRAINTS ?= -c tests/constraints.txt
STAMP := $(VENV)/.installed
export SVT_LOG ?= 1

.PHONY: demo install test check results fuzz long clean

demo: $(STAMP)
	$(BIN)/python -m sender --loopback --input sample --demo demo

install: $(STAMP)

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The long form of the fuzz tests: 100,000 mutated packets and 10,000 mutated control messages.
fuzz: $(STAMP)
	VIDCODEC_FUZZ=20 $(BIN)/python -m pytest tests/test_link_fuzz.py

# Symbols of every frame of every development clip, in both precisions and with one and two threads: some ten minutes
# on one core.
long: $(STAMP)
	VIDCODEC_LONG=1 $(BIN)/python -m pytest tests/test_determinism.py

results: $(STAMP)
	$(BIN)/python -m vidcodec bench results

$(STAMP): pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_CONSTRAINTS) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
