# Two commands matter: `make demo` and `make test`. Each does all of its own set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# A dozen processes start at once, again and again: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up down test bench soak lint unit lock clean

.DEFAULT_GOAL := help
help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Gearbox needs Python 3.11 or newer: run `make PYTHON=/path/to/python3.11`")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.test: $(VENV)/.runtime tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	@touch $@

demo: $(VENV)/.runtime ## Set up, start everything and run MangaAssist through all four modes (EXIT=1: stop at the end).
	@$(BIN)/python manage.py demo $(if $(EXIT),--exit)

up: $(VENV)/.runtime ## Start servers and processes; Ctrl-C stops them.
	@$(BIN)/python manage.py up

down: ## Stop what `up` or `demo` left running.
	@$(BIN)/python manage.py down

test: $(VENV)/.test ## Everything that CI checks: lint, types, import contracts, tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.lanes

bench: $(VENV)/.test ## The benchmarks: a table and a JSON line each (NAME=cold_start: that one).
	@$(BIN)/python -m tests.benchmarks $(NAME)

soak: $(VENV)/.test ## The long fault runs, at full length.
	@if test -d tests/soak; then $(BIN)/python -m pytest tests/soak; else echo "There are no soak runs yet."; fi

lock: ## Resolve pyproject.toml again into the two pinned, hashed requirement files.
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --group test -c requirements.txt -o tests/requirements.txt
