"""What the commands share: the application, its error output, and the options that several have."""

from __future__ import annotations

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
told = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on the standard output.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; by default runs/ and the configuration's name.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the run.")]
DataPath = Annotated[str, typer.Argument(help="File or folder of trajectories, or - for the standard input.")]
FormatName = Annotated[str | None, typer.Option(help="Format of the data; by default detected from its content.")]
ToolsFile = Annotated[str | None, typer.Option("--tools", help="Tool specifications, for logs that carry none.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")]


def remark(text: str) -> None:
    """A line on the error output, as it is."""
    told.print(text, highlight=False, soft_wrap=True, markup=False)


def quiet() -> None:
    """No bars and remarks of the libraries between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
