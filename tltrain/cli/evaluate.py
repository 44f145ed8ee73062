"""The commands that evaluate models: eval, analyze, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tltrain.cli.app import Json, app, interruptible, print_status, silence_libraries, stderr
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from tltrain.evaluation.run import Evaluation
    from tltrain.testsets.base import TestSet

RESUME = "interrupted; the same command resumes after the last reply"

Models = Annotated[
    list[str],
    typer.Argument(help="Folders, hub names, the built-in model, or URL#model of an endpoint; NAME=MODEL names one."),
]
Bench = Annotated[
    str | None,
    typer.Option(
        help="rotbench, toolalpaca, bfcl, tooleyes, sealtools, toolworld or all; or splits such as rotbench/First_Turn."
    ),
]
DialectName = Annotated[str, typer.Option(help="How the model writes calls, such as hermes, python or react.")]
MaxLength = Annotated[
    int | None, typer.Option(min=1, help="Most tokens of a prompt and its reply; by default the model's own limit.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Replies decoded together.")]
Dtype = Annotated[
    str,
    typer.Option(help="bfloat16, float32, or auto: bfloat16 where the device supports it."),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", help="Also load models with Python code or pickled weights; they can execute anything."
    ),
]
EndpointModel = Annotated[str | None, typer.Option(help="The model's name, where the URL of an endpoint has none.")]


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
        int, typer.Option(min=1, help="A longer reply is truncated and counts as not parseable.")
    ] = 512,
    dialect: DialectName = "hermes",
    seed: Annotated[int, typer.Option(help="Random seed for the choice of trajectories or items.")] = 0,
    max_length: MaxLength = None,
    batch_size: BatchSize = 64,
    dtype: Dtype = "auto",
    endpoint_model: EndpointModel = None,
    allow_code: AllowCode = False,
    library: Annotated[
        str | None, typer.Option(help="Folder of ToolEyes' own tool library, instead of the simulator.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most replies to a query whose calls are executed; by default 10.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at a time.")] = 8,
    price_in: Annotated[float | None, typer.Option(min=0, help="Of a million prompt tokens at an endpoint.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Of a million reply tokens at an endpoint.")] = None,
    general: Annotated[str | None, typer.Option(help="Tasks of lm-eval to run as well, such as mmlu,gsm8k.")] = None,
    as_json: Json = False,
) -> None:
    """Generate and score models: on public test sets (--bench), or on trajectories of your own (--data), where every
    unfailed reply is an item that is asked after its gold history."""
    if bench is None and data is None:
        raise ConfigError("expected --bench NAMES, or --data with trajectories")
    if bench is None and library is not None:
        raise ConfigError("--library executes ToolEyes' calls: it has no use without --bench")
    if bench is None and max_steps is not None:
        raise ConfigError("--max-steps limits queries whose calls are executed: it has no use without --bench")
    values = {"data": data if bench else None, "limit": limit, "dialect": dialect, "seed": seed}
    values |= {"max_length": max_length, "max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype}
    values |= {"allow_code": allow_code}
    values |= {"library": library} if max_steps is None else {"library": library, "max_steps": max_steps}
    from tltrain.config import EvaluationConfig, parse_config
    from tltrain.evaluation.selection import load_trajectories, name_models

    config, named = parse_config(values, "options", EvaluationConfig), name_models(models, endpoint_model, concurrency)
    own_sets = load_trajectories(str(data)) if bench is None else []
    silence_libraries()
    from tltrain.cli.progress import show_progress
    from tltrain.evaluation.run import Evaluation
    from tltrain.report.comparison import general_line
    from tltrain.report.pages import write_pages
    from tltrain.report.tables import terminal_table, truncation_lines, usage_line
    from tltrain.run_directory import RunDirectory

    with interruptible(RESUME), show_progress(stderr) as progress:
        evaluation = Evaluation(config, RunDirectory(out, config), progress=progress, prices=(price_in, price_out))
        scores = evaluation.evaluate(named, own_sets or _test_sets(evaluation, str(bench)), general)
        pages = write_pages(out)
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    Console().print(terminal_table(scores))
    lines = [*truncation_lines(scores), *map(general_line, evaluation.general_rows())]
    for line in [*lines, *(usage_line(scores, name) for name in named)]:
        print_status(line)
    print_status(f"written: {', '.join(map(str, pages))}")


@app.command()
def analyze(
    models: Models,
    bench: Annotated[str, typer.Option(help="Test sets or splits, as for `eval`.")],
    out: Annotated[Path, typer.Option(help="Run directory of `eval --bench`, or a new one.")],
    data: Annotated[str | None, typer.Option(help="Folder of test sets.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items a split; by default all.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a reply.")] = 512,
    dialect: DialectName = "hermes",
    seed: Annotated[int, typer.Option(help="Random seed for the choice of items.")] = 0,
    max_length: MaxLength = None,
    batch_size: BatchSize = 64,
    dtype: Dtype = "auto",
    endpoint_model: EndpointModel = None,
    allow_code: AllowCode = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """What models get wrong on test sets, and which tokens decide it; reads what `eval` saved with the same options."""
    from tltrain.config import EvaluationConfig, parse_config, read_config
    from tltrain.evaluation.selection import name_models

    values = {"data": data, "limit": limit, "dialect": dialect, "seed": seed, "max_length": max_length}
    values |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype}
    values |= {"allow_code": allow_code}
    if (out / "config.yaml").exists():  # settings of multi-step sets, which are not analysed
        found = read_config(out / "config.yaml", EvaluationConfig)
        values |= {"library": found.library, "max_steps": found.max_steps}
    config, named = parse_config(values, "options", EvaluationConfig), name_models(models, endpoint_model, concurrency)
    silence_libraries()
    from tltrain.cli.progress import show_progress
    from tltrain.evaluation.run import Evaluation
    from tltrain.evaluation.token_importance import analyze as run_analysis
    from tltrain.report.analysis_page import analysis_lines, write_analysis
    from tltrain.run_directory import RunDirectory

    with interruptible(RESUME), show_progress(stderr) as progress:
        evaluation = Evaluation(config, RunDirectory(out, config), progress=progress)
        rows = run_analysis(evaluation, named, _test_sets(evaluation, bench), print_status)
        write_analysis(out)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for line in analysis_lines(rows):
        print(line)
    print_status(f"written: {out / 'analysis.html'}, {out / 'analysis.json'}")


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
) -> None:
    """Rebuild the pages of a run directory: report.html, and those of a comparison and an analysis if it has them."""
    from tltrain.evaluation.significance import write_significance
    from tltrain.report.pages import write_pages

    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: no such run directory")
    if not (run_dir / "comparison.json").exists():
        write_significance(run_dir)  # runs of earlier versions have none
    print_status(f"written: {', '.join(map(str, write_pages(run_dir)))}")


def _test_sets(evaluation: Evaluation, names: str) -> list[TestSet]:
    from tltrain.evaluation.selection import load_test_sets

    return load_test_sets(names, evaluation.data, print_status)
