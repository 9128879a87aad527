# `make run` and `make test` do everything on a fresh machine; see README.md.
SHELL := /bin/bash
PYTHON ?=
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := run
.PHONY: run test setup setup-tests check coverage dead-code format bench soak screenshots gallery

run: setup  ## open the window
	@resources/setup.sh screen
	@$(BIN)/python -m gui $(ARGS)

# Many a Python is started; without compiled modules each would compile the core again.
test coverage soak bench run: export PYTHONDONTWRITEBYTECODE :=

# On all cores; what must not run beside its like is in one xdist_group and so in one worker.
PARALLEL := -n logical --dist loadgroup

test: setup-tests  ## the whole test suite on all cores; ARGS="-k chat" for some of it
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

setup:  ## .venv with everything that running needs
	@PYTHON="$(PYTHON)" resources/setup.sh

setup-tests:  ## the same, with what the tests and checks need
	@PYTHON="$(PYTHON)" resources/setup.sh tests

check: setup-tests  ## style, types and the arrows between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

coverage: setup-tests  ## lines and branches the tests run, by package, against floors that only rise; ARGS=--raise
	@rm -rf .coverage
	@mkdir .coverage
	@QT_QPA_PLATFORM=offscreen $(BIN)/coverage run -m pytest $(PARALLEL)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage json -q -o .coverage/report.json
	@$(BIN)/python -m tests.coverage_ratchet .coverage/report.json $(ARGS)

dead-code: setup-tests  ## what nothing uses; Qt's own names and data models are in the list too
	@$(BIN)/vulture core gui

format: setup-tests
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-tests  ## the measured promises, as ratios in one run
	@$(BIN)/python -m tests.bench $(ARGS)

soak: setup-tests  ## the long runs: thousands of kills, a million-row ledger, 30 minutes of hostile answers (SOAK_PANEL_S)
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

screenshots: setup-tests  ## every page, light and dark, into resources/screenshots
	@$(BIN)/python -m tests.screenshots $(ARGS)

gallery: setup-tests  ## a window with every widget in every state
	@resources/setup.sh screen
	@$(BIN)/python -m tests.gallery $(ARGS)
