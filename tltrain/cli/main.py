"""Entry point of the command line: parse, call, and turn a user's mistake into one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

import tltrain.cli.ablate
import tltrain.cli.data
import tltrain.cli.evaluate
import tltrain.cli.train  # noqa: F401  each module registers its commands
from tltrain.cli.app import app
from tltrain.errors import TLTrainError
from tltrain.files import is_disk_full

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises for every wrong option or argument."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of `tltrain`; ends the process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(given, prog_name="tltrain", standalone_mode=False)
    except TLTrainError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None and not is_disk_full(error):
            raise
        _fail(f"{error.filename or 'output'}: {error.strerror}")
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "tltrain"
        _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`")
    sys.exit(code)


def _fail(message: str) -> NoReturn:
    print(f"tltrain: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
