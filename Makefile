# Two commands do everything on a fresh machine (Python 3.11 with headers, git, g++, make):
#   make quickstart   installs, renders a data set, trains a small study, writes a report with plots
#   make test         installs, runs all tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RANKS ?= 2
# Not ".": checkpoints below runs/ hold scripts of DeepSpeed's, and data/ would also name scaling/data.
CODE := launch model_zoo scaling analysis tests

.PHONY: quickstart test check bench figure clean

quickstart: $(INSTALLED)
	$(BIN)/scaling data render data/rendered
	$(BIN)/deepspeed --num_accelerators $(RANKS) launch sweeps/quickstart.yaml
	$(BIN)/scaling report sweeps/quickstart.yaml

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

check: $(INSTALLED)
	$(BIN)/python -m flake8 $(CODE)
	$(BIN)/python -m isort --check-only $(CODE)
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m "not slow"

bench: $(INSTALLED)
	for file in tests/benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# The README's figure, from the runs of the quickstart.
figure: $(INSTALLED)
	$(BIN)/scaling report sweeps/quickstart.yaml
	cp runs/quickstart/figures/linear_probe_top1_versus_compute.png sweeps/quickstart.png

$(INSTALLED): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $(INSTALLED)

clean:
	rm -rf runs data build *.egg-info
