# make demo   environment, training with and without adaptation on the built-in data, report
# make test   environment, lint, types, import contracts, tests
# make test-slow   the tests that `make test` leaves out, ten to twenty minutes; also installs
#             PyTorch Geometric, in an environment of its own, for the tests that compare with it
# make lint   the same without the tests
# make docs   the pages of docs/ as a site in build/site, their links checked

PYTHON ?= python3
VENV := .venv
TORCH := .venv-torch
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install -qq
BASELINE := runs/source_only
DEMO := runs/demo

.PHONY: demo test test-slow lint docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/run.stamp
	rm -rf $(BASELINE) $(DEMO)
	$(BIN)/molrel train source_only_mixtures --out $(BASELINE)
	$(BIN)/molrel train distrans_mixtures --out $(DEMO) --compare $(BASELINE)

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(VENV)/dev.stamp $(TORCH)/stamp
	MOLREL_TORCH_PYTHON=$(CURDIR)/$(TORCH)/bin/python $(BIN)/python -m pytest -q -n 2 -m slow

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/docs.stamp
	$(BIN)/mkdocs build

clean:
	rm -rf $(VENV) $(TORCH) build *.egg-info

# What a run needs, and what the tests need on top of it; each is installed again when one of
# the files that it is made from changes.
$(VENV)/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
	  echo "molrel needs Python 3.11 to 3.14, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
	  echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@echo "Installing the environment into $(VENV) (about a minute)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/docs.stamp: requirements-docs.txt $(VENV)/run.stamp
	@echo "Installing the tools for the documentation"
	@$(PIP) -r requirements-docs.txt
	@touch $@

$(TORCH)/stamp: benchmarks/requirements-torch.txt
	@echo "Installing PyTorch Geometric into $(TORCH)"
	@test -x $(TORCH)/bin/pip || $(PYTHON) -m venv $(TORCH)
	@$(TORCH)/bin/pip --disable-pip-version-check install -qq -r benchmarks/requirements-torch.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing the tools for tests"
	@$(PIP) -r requirements-dev.txt
	@touch $@
