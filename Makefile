# Two commands on a fresh machine (Python >= 3.10, make, a compiler; with or without a GPU):
#   make demo    draw synthetic faces, train DTM on them, show the table and where the pictures are
#   make test    install what the tests need and run all of them
# Both install into .venv, once. Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo
DEMO_CONFIG := configs/dtm/tiny_synthetic.py
DEMO_FACES := $(DEMO)/data/synthetic
DEMO_RUN := $(DEMO)/run

.DELETE_ON_ERROR:
.PHONY: help install demo test test-all check format bench lock clean

help:
	@sed -n 's/^#   make/make/p' $(firstword $(MAKEFILE_LIST))
	@echo "also: make install | check | format | test-all | bench | lock | clean"

install: $(STAMP)

# The compiled bytecode saves 5 s at every first import. pip would need three times as long as uv for the same lock.
$(STAMP): requirements/lock.txt setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "error: $(PYTHON) is older than Python 3.10; try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	    || { echo "error: cannot make $(VENV); on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --requirement requirements/lock.txt
	$(BIN)/uv pip install --no-deps --python $(BIN)/python --editable .
	@touch $@

# The run folder is replaced, the faces are drawn only once.
demo: $(STAMP) $(DEMO_FACES)/README.txt
	$(BIN)/python tools/train.py $(DEMO_CONFIG) --data $(DEMO)/data --work-dir $(DEMO_RUN) --overwrite
	@echo
	@echo "The pictures (thresholds, utilization, purity, confusion matrix):"
	@find $(DEMO_RUN) -name '*.png' | sort | sed 's/^/  /'

$(DEMO_FACES)/README.txt: | $(STAMP)
	@mkdir -p $(dir $(DEMO_FACES))
	$(BIN)/python tools/make_synthetic.py $(DEMO_FACES) --overwrite

# A process per core, at most four, with one thread each: BLAS threads of parallel processes would only fight for the cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What `make test` leaves out needs more than the lock holds: Chromium on PATH, Slurm, Ray (see CONTRIBUTING.md).
test-all: check test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m heavy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: $(STAMP)
	$(BIN)/uv pip compile setup.cfg --extra test --constraint requirements/constraints.in --universal \
	    --python-version 3.10 --generate-hashes --output-file requirements/lock.txt

clean:
	rm -rf build dist *.egg-info $(DEMO)
