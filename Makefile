# `make run` and `make test` do everything on a fresh machine; see README.md.
SHELL := /bin/bash
PYTHON ?=
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := run
.PHONY: run test setup setup-tests check format bench soak screenshots gallery

run: setup  ## open the window
	@resources/setup.sh screen
	@$(BIN)/python -m gui $(ARGS)

test: setup-tests  ## the whole test suite; ARGS="-k chat" for some of it
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(ARGS)

setup:  ## .venv with everything that running needs
	@PYTHON="$(PYTHON)" resources/setup.sh

setup-tests:  ## the same, with what the tests and checks need
	@PYTHON="$(PYTHON)" resources/setup.sh tests

check: setup-tests  ## style, types and the arrows between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: setup-tests
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup-tests  ## the measured promises, as ratios in one run
	@$(BIN)/python -m tests.bench $(ARGS)

soak: setup-tests  ## the long runs: thousands of kills, a million-row ledger
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

screenshots: setup-tests  ## every page, light and dark, into resources/screenshots
	@$(BIN)/python -m tests.screenshots $(ARGS)

gallery: setup-tests  ## a window with every widget in every state
	@resources/setup.sh screen
	@$(BIN)/python -m tests.gallery $(ARGS)
