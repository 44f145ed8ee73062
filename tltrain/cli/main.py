"""Entry point of the command line: parse, call, and turn a user's mistake into one line and exit code 2."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import typer

import tltrain.cli.ablate
import tltrain.cli.chat
import tltrain.cli.data
import tltrain.cli.evaluate
import tltrain.cli.planning
import tltrain.cli.train  # noqa: F401  each module registers its commands
from tltrain.cli.app import MISTAKE, app, stderr
from tltrain.errors import ConfigError, TLTrainError
from tltrain.files import no_space

UsageError: Any = typer.BadParameter.__mro__[1]
"""What typer raises for every wrong option or argument."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of `tltrain`; ends the process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    stderr.quiet = False
    try:
        code = command_line()(given, prog_name="tltrain", standalone_mode=False)
        sys.stdout.flush()  # a full disk behind a redirection shows here, and not after the exit code
    except ConfigError as error:
        _fail(*error.mistakes)
    except TLTrainError as error:
        _fail(str(error))
    except OSError as error:
        reason = no_space(error)
        if error.filename is None and reason is None:
            raise
        if error.filename is None:
            _discard_output()
        _fail(f"{error.filename or 'output'}: {reason or error.strerror}")
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "tltrain"
        _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`")
    sys.exit(code)


def _discard_output() -> None:
    """Let the interpreter's last flush of the standard output succeed: what is left cannot be written."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_line() -> Any:
    """All commands; each takes `--quiet` as `tltrain` itself does."""
    group: Any = typer.main.get_command(app)
    quiet = next(parameter for parameter in group.params if parameter.name == "quiet")
    for command in group.commands.values():
        option = copy.copy(quiet)
        option.help = "Print results and errors only: no progress, no notes."
        command.params.append(option)
    group.invoke = partial(_until_the_pipe_is_closed, group.invoke)
    return group


def _until_the_pipe_is_closed(invoke: Callable[[Any], Any], context: Any) -> Any:
    """Call a command; a reader that has seen enough, as in `tltrain judge … | head -1`, ends it without an error.

    This has to happen inside of typer, which ends the process with exit code 1 otherwise.
    """
    try:
        result = invoke(context)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at exit
        return 0
    return result


def _fail(*messages: str) -> NoReturn:
    """End the process with exit code 2 and a line for each message."""
    for message in messages:
        print(f"tltrain: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(MISTAKE)
