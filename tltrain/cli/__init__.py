"""The command line."""

from tltrain.cli.main import main

__all__ = ["main"]
