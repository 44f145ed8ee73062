"""What the commands share: the application, its error output, and the options that several have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="tltrain",
    help="Train language models to call tools, from about a thousand noisy trajectories.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on the standard output.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; by default runs/ and the configuration's name.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the run.")]
DataPath = Annotated[str, typer.Argument(help="File or folder of trajectories, or - for the standard input.")]
FormatName = Annotated[str | None, typer.Option(help="Format of the data; by default detected from its content.")]
ToolsFile = Annotated[str | None, typer.Option("--tools", help="Tool specifications, for logs that carry none.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")]


def print_status(text: str) -> None:
    """Print a line on stderr, as it is."""
    stderr.print(text, highlight=False, soft_wrap=True, markup=False)


def silence_libraries() -> None:
    """Keep progress bars and warnings of the libraries from mixing with ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Ctrl-C inside the block ends the command with `message`, which says how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        stderr.print(message)
        raise typer.Exit(INTERRUPTED) from None
