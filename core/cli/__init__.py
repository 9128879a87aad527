"""The command line: ``signalbox ask | decide | report | keys | doctor``."""

from core.cli.main import main

__all__ = ["main"]
