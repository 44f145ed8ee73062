"""What the commands share: the application, its error output, and the options that several have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console

from tltrain.errors import DataError

Command = Callable[..., None]
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
INCOMPLETE = 1
"""Exit code where the result is there, but not as asked for."""
MISTAKE = 2
"""Exit code after an error in the input."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
EXIT_CODES = f"""Exit codes: 0: success. {INCOMPLETE}: the result is there, but more calls failed than
`audit --fail-over` allows, or `score` found no prediction for some items. {MISTAKE}: wrong options, configuration or
data; a line for each mistake is on stderr. {INTERRUPTED}: interrupted by Ctrl-C; the same command resumes."""

app = typer.Typer(
    name="tltrain",
    help="Train language models to call tools, from about a thousand noisy trajectories.",
    epilog=" ".join(EXIT_CODES.split()),
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as sft.epochs=2. Can be repeated."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start anew; a run that is in the run directory is moved to NAME.old.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on the standard output.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; by default runs/ and the configuration's name.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the run.")]
DataPath = Annotated[str, typer.Argument(help="File or folder of trajectories, or - for the standard input.")]
FormatName = Annotated[str | None, typer.Option(help="Format of the data; by default detected from its content.")]
ToolsFile = Annotated[
    str | None, typer.Option("--tools", help="File of tool specifications, for logs that contain none.")
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", help="Also load models with Python code or pickled weights; they can execute anything."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")]


def grouped_options(parameter: str, group: type[Any]) -> Callable[[Command], Command]:
    """Give a command the fields of a dataclass as options of its own; it takes them together as `parameter`.

    Options that several commands share are declared once in this way.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        types = get_type_hints(group, include_extras=True)
        options = [
            inspect.Parameter(field.name, KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(group)
        ]

        @wraps(command)
        def expanded(**values: Any) -> None:
            given = {option.name: values.pop(option.name) for option in options}
            command(**values, **{parameter: group(**given)})

        parts = [options if own.name == parameter else [own] for own in signature.parameters.values()]
        expanded.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[part.replace(kind=KEYWORD_ONLY) for part in chain.from_iterable(parts)]
        )
        return expanded

    return decorate


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tltrain {metadata.version('tltrain')}")
        raise typer.Exit


def _silence_stderr(wanted: bool) -> None:
    stderr.quiet = stderr.quiet or wanted


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_silence_stderr,
        expose_value=False,
        help="Print results and errors only: no progress, no notes. Every command takes it too.",
    ),
]


@app.callback()
def options(
    quiet: Quiet = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train language models to call tools, from about a thousand noisy trajectories."""


def print_status(text: str) -> None:
    """Print a line on stderr, as it is."""
    stderr.print(text, highlight=False, soft_wrap=True, markup=False)


def require_path(path: str | Path) -> None:
    """Report a missing file or folder before anything heavy is imported.

    Raises:
        DataError: there is none.
    """
    if not Path(path).exists():
        raise DataError("no such file or folder", path)


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
