"""The command line: parse, call, show progress. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from tltrain.cli.app import ConfigFile, Json, Out, app, quiet, remark, told
from tltrain.errors import ConfigError, TLTrainError
from tltrain.files import is_disk_full

if TYPE_CHECKING:
    from tltrain.config import RunConfig

STOPPED = 130
"""Exit code after Ctrl-C."""

Models = Annotated[
    list[str],
    typer.Argument(help="Folders, hub names, the built-in model, or URL#model of an endpoint; NAME=MODEL names one."),
]
Bench = Annotated[
    str | None,
    typer.Option(help="Test sets: rotbench, toolalpaca, bfcl, tooleyes, toolworld, or splits: rotbench/First_Turn."),
]
DialectName = Annotated[str, typer.Option(help="How the model writes calls, such as hermes, python or react.")]
MaxLength = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of a prompt and its reply; by default what the model takes.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Replies decoded together.")]
Dtype = Annotated[str, typer.Option(help="Arithmetic of the model: bfloat16 or float32.")]
EndpointModel = Annotated[str | None, typer.Option(help="The model's name, where the URL of an endpoint has none.")]

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
    models: Models,
    out: Annotated[Path, typer.Option(help="Run directory of this evaluation.")],
    data: Annotated[
        str | None,
        typer.Option(help="Trajectories with gold replies, or toolworld; with --bench the folder of test sets."),
    ] = None,
    bench: Bench = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Trajectories or items a split; by default all.")] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="A longer reply is cut and counts as not parseable; by default 128, 512 with --bench."
        ),
    ] = None,
    dialect: DialectName = "hermes",
    seed: Annotated[int, typer.Option(help="Of the choice of trajectories or items.")] = 0,
    max_length: MaxLength = None,
    batch_size: BatchSize = 64,
    dtype: Dtype = "bfloat16",
    endpoint_model: EndpointModel = None,
    library: Annotated[str | None, typer.Option(help="ToolEyes' own tool library, in place of the simulator.")] = None,
    max_steps: Annotated[int, typer.Option(min=1, help="Most replies to a query whose calls are executed.")] = 10,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at a time.")] = 8,
    price_in: Annotated[float | None, typer.Option(min=0, help="Of a million prompt tokens at an endpoint.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Of a million reply tokens at an endpoint.")] = None,
    general: Annotated[str | None, typer.Option(help="Tasks of lm-eval to run as well, such as mmlu,gsm8k.")] = None,
    as_json: Json = False,
) -> None:
    """Generate and score: models on test sets (--bench), or one model on trajectories (--data), where an item is an
    unfailed gold step with its gold history."""
    if bench is not None:
        config = {"data": data, "limit": limit, "dialect": dialect, "seed": seed, "max_length": max_length}
        config |= {"batch_size": batch_size, "dtype": dtype, "library": library, "max_steps": max_steps}
        config |= {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        named = (models, endpoint_model, concurrency)
        _bench(config, out, named, bench, (price_in, price_out), general, as_json)
        return
    if data is None or len(models) > 1:
        raise ConfigError("expected either --bench NAMES, or one model and --data with trajectories")
    from tltrain.config import parse_config

    max_new_tokens, model = max_new_tokens or 128, models[0]
    own = {"train": data} if data == "toolworld" else {"train": None, "test": {_split_name(data): data}}
    settings = {"trajectories": limit, "max_new_tokens": max_new_tokens}
    values = {"model": model, "dialect": dialect, "seed": seed, "sft": None, "ppo": None, "eval": settings}
    _run(parse_config({**values, "data": own}, "options"), out, ("eval", "report"), as_json)


@app.command()
def analyze(
    models: Models,
    bench: Annotated[str, typer.Option(help="Test sets or splits, as for `eval`.")],
    out: Annotated[Path, typer.Option(help="Run directory of `eval --bench`, or a new one.")],
    data: Annotated[str | None, typer.Option(help="Folder of test sets.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items a split; by default all.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of a reply.")] = 512,
    dialect: DialectName = "hermes",
    seed: Annotated[int, typer.Option(help="Of the choice of items.")] = 0,
    max_length: MaxLength = None,
    batch_size: BatchSize = 64,
    dtype: Dtype = "bfloat16",
    endpoint_model: EndpointModel = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """What models get wrong on test sets, and which tokens decide it; reads what `eval` saved with the same options."""
    from tltrain.config import BenchConfig, parse_config, read_config
    from tltrain.evaluation.selection import name_models

    values = {"data": data, "limit": limit, "dialect": dialect, "seed": seed, "max_length": max_length}
    values |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype}
    if (out / "config.yaml").exists():  # what only sets of several steps need, which are not analysed
        found = read_config(out / "config.yaml", BenchConfig)
        values |= {"library": found.library, "max_steps": found.max_steps}
    config, named = parse_config(values, "options", BenchConfig), name_models(models, endpoint_model, concurrency)
    quiet()
    from tltrain.cli.progress import stages as shown
    from tltrain.evaluation.run import Benchmark
    from tltrain.evaluation.token_importance import analyze as run_analysis
    from tltrain.report.analysis_page import analysis_lines

    with _stoppable(), shown(told) as tell:
        rows = run_analysis(Benchmark(config, out, tell, remark), named, bench)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for line in analysis_lines(rows):
        print(line)
    remark(f"written: {out / 'analysis.html'}, {out / 'analysis.json'}")


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
) -> None:
    """Rebuild the pages of a run directory: report.html, and those of a comparison and an analysis if it has them."""
    from tltrain.report.analysis_page import write_analysis
    from tltrain.report.comparison import write_comparison
    from tltrain.report.report import write_report

    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: no such run directory")
    written = [write_report(run_dir)]
    written += [write_comparison(run_dir)] if (run_dir / "comparison.json").exists() else []
    written += [write_analysis(run_dir)] if (run_dir / "analysis.json").exists() else []
    remark(f"written: {', '.join(map(str, written))}")


def _read(path: Path) -> RunConfig:
    from tltrain.config import read_config

    return read_config(path)


def _split_name(data: str) -> str:
    return re.sub(r"[^\w-]", "-", Path(data).stem) or "test"


def _folder(out: Path | None, config: Path) -> Path:
    return out or Path("runs") / config.stem


def _run(config: RunConfig, folder: Path, stages: tuple[str, ...] | None, as_json: bool) -> None:
    quiet()
    from tltrain.cli.progress import stages as shown
    from tltrain.pipeline import STAGES, Pipeline
    from tltrain.report.tables import terminal_table

    try:
        with shown(told) as tell:
            scores = Pipeline(config, folder, tell).all(stages or STAGES)
    except KeyboardInterrupt:
        told.print("stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(STOPPED) from None
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    if scores:
        Console().print(terminal_table(scores))
    told.print(f"run directory: {folder}", highlight=False, soft_wrap=True)


def _bench(
    values: dict[str, Any],
    out: Path,
    named: tuple[list[str], str | None, int],
    names: str,
    prices: tuple[float | None, float | None],
    general: str | None,
    as_json: bool,
) -> None:
    """`eval --bench`."""
    from tltrain.config import BenchConfig, parse_config
    from tltrain.evaluation.selection import name_models

    config, models = parse_config(values, "options", BenchConfig), name_models(*named)
    quiet()
    from tltrain.cli.progress import stages as shown
    from tltrain.evaluation.run import Benchmark
    from tltrain.report.comparison import general_line
    from tltrain.report.tables import terminal_table, usage_line

    with _stoppable(), shown(told) as tell:
        benchmark = Benchmark(config, out, tell, remark, prices)
        scores = benchmark.evaluate(models, names, general)
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    Console().print(terminal_table(scores))
    for line in [*map(general_line, benchmark.general_rows()), *(usage_line(scores, name) for name in models)]:
        remark(line)
    remark(f"written: {', '.join(str(path) for path in benchmark.pages)}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C inside the block ends the command, and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        told.print("stopped; the same command goes on after the last reply")
        raise typer.Exit(STOPPED) from None


import tltrain.cli.data  # noqa: E402, F401  its commands stand after these
