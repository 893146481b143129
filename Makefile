# make demo    from clone to generated clocks: installs, trains, shows where picture and report lie
# make test    installs, then runs every test
# make check   lint, types, import layers, docstring examples

PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0

.PHONY: demo test check lint types layers examples clean

demo: .venv/installed
	$(BIN)/smalti fit clocks-demo

test: .venv/installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/pytest --numprocesses 2 --dist worksteal tests

check: .venv/installed-dev
	$(MAKE) --no-print-directory --jobs 2 types examples lint layers

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

layers: .venv/installed-dev
	$(BIN)/lint-imports

examples: .venv/installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/pytest --quiet smalti

# torch goes first and alone, so that nothing else chooses its build.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "smalti needs Python 3.11 or newer, got $$($(PYTHON) --version): make PYTHON=python3.11 ..." >&2; \
		exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
