# Two commands set up everything on a fresh machine: make demo, make test.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint bench clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)  ## Prune a small convolutional SNN on digits; leaves runs/demo/report.html
	$(VENV)/bin/microglia prune examples/digits.toml --overwrite

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint  ## The sampled suite, under 12 minutes on two cores
	$(PYTHON) -m pytest -n 2 --dist loadgroup

test-all: lint  ## Everything: every network, mask and T
	$(PYTHON) -m pytest -n 2 --dist loadgroup --full

bench: $(INSTALLED)  ## Speed and overhead, side by side in one run; asserts nothing. Wants CIFAR-10
	mkdir -p runs/bench
	$(PYTHON) benchmarks/training_overhead.py --json runs/bench/training_overhead.json
	$(PYTHON) benchmarks/training_speed.py --json runs/bench/training_speed.json
	$(PYTHON) benchmarks/compaction.py --json runs/bench/compaction.json
	$(PYTHON) benchmarks/latency_vgg16.py --json runs/bench/latency_vgg16.json
	$(PYTHON) benchmarks/recurrent_simulation.py --json runs/bench/recurrent_simulation.json
	$(PYTHON) benchmarks/lyapunov_exponents.py --json runs/bench/lyapunov_exponents.json
	mv runs/bench/*.json results/benchmarks/

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
