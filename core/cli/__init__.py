"""The command line; ``signalbox --help`` lists its commands."""

from core.cli.main import main

__all__ = ["main"]
