"""The commands that evaluate models: eval, analyze, report."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tltrain.cli.app import (
    AllowCode,
    Json,
    Set,
    app,
    grouped_options,
    interruptible,
    print_status,
    require_path,
    silence_libraries,
    stderr,
)
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from tltrain.config import EvaluationConfig, EvaluationFile
    from tltrain.evaluation.run import Evaluation
    from tltrain.evaluation.selection import Model
    from tltrain.testsets.base import TestSet

RESUME = "interrupted; the same command resumes after the last reply"

Models = Annotated[
    list[str] | None,
    typer.Argument(help="Folders, hub names, the built-in model, or URL#model of an endpoint; NAME=MODEL names one."),
]
Bench = Annotated[
    str | None,
    typer.Option(
        help="rotbench, toolalpaca, bfcl, tooleyes, sealtools, toolworld or all; or splits such as rotbench/First_Turn."
    ),
]


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """The options of both `eval` and `analyze`: which items are sampled, and how models are loaded and queried."""

    limit: Annotated[
        int | None, typer.Option(min=1, help="Size of the random sample of each split; by default all of its items.")
    ] = None
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum length of a reply; a longer one is truncated and counts as wrong. Default: 512."
        ),
    ] = None
    dialect: Annotated[
        str | None,
        typer.Option(
            help="How the models write calls, such as hermes, python or react, or NAME=DIALECT,… for some of them; "
            "by default as each model's chat template does."
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Random seed for sampling items. Default: 0.")] = None
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum tokens of a prompt and its reply; by default the model's own limit."),
    ] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Number of replies decoded together. Default: 128.")] = (
        None
    )
    dtype: Annotated[
        str | None,
        typer.Option(help="bfloat16, float32, or auto (the default): bfloat16 where the device supports it."),
    ] = None
    endpoint_model: Annotated[
        str | None, typer.Option(help="The model's name at an endpoint, where its URL does not end in #name.")
    ] = None
    allow_code: AllowCode = False
    concurrency: Annotated[int, typer.Option(min=1, help="Number of simultaneous requests to an endpoint.")] = 8

    def settings(self) -> dict[str, Any]:
        """Those that are settings of the configuration, None where they are not given."""
        return {
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "allow_code": self.allow_code or None,
        }


@app.command("eval")
@grouped_options("shared", SharedOptions)
def evaluate(
    models: Models = None,
    *,
    out: Annotated[Path, typer.Option(help="Run directory of this evaluation.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file with models and settings; `tltrain config --eval` prints one.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Trajectories with gold replies, or toolworld; with --bench, the folder of the test sets."),
    ] = None,
    bench: Bench = None,
    shared: SharedOptions,
    library: Annotated[
        str | None, typer.Option(help="Folder of ToolEyes' own tool library, to execute its calls with.")
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of replies to a query whose calls are executed. Default: 10."),
    ] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million reply tokens.")] = None,
    general: Annotated[
        str | None, typer.Option(help="Tasks of lm-eval to run, too: local (small, no download), or mmlu,gsm8k.")
    ] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Evaluate models on public test sets (--bench), on your own trajectories (--data), or by small tasks (--general).

    Every reply of your trajectories that has no failed call is an item: the model gets all messages before it.
    """
    values = shared.settings() | {"library": library, "max_steps": max_steps}
    values |= {"data": data, "bench": bench} if bench else {"trajectories": data}
    plan = _evaluation_plan(config, values, settings or [])
    _check_sets(plan, library, max_steps, general)
    selected = _select(plan, models or [], shared)
    own_sets = _own_sets(plan.trajectories) if plan.bench is None and plan.trajectories is not None else []
    silence_libraries()
    with interruptible(RESUME):
        done = _evaluated(plan, selected, own_sets, out, prices=(price_in, price_out), general=general)
    if as_json:
        print(json.dumps(done.scores, ensure_ascii=False))
    else:
        _show_scores(done, list(selected.models))


@app.command()
@grouped_options("shared", SharedOptions)
def analyze(
    models: Annotated[list[str], typer.Argument(help="Models, as for `eval`.")],
    *,
    bench: Annotated[str, typer.Option(help="Test sets or splits, as for `eval`.")],
    out: Annotated[Path, typer.Option(help="Run directory of `eval --bench`, or a new one.")],
    data: Annotated[str | None, typer.Option(help="Folder of the test sets.")] = None,
    shared: SharedOptions,
    as_json: Json = False,
) -> None:
    """Show which kinds of errors models make on test sets, and which tokens decide whether a call is right.

    Replies that `tltrain eval` saved with the same options are used; missing ones are generated.
    """
    from tltrain.config import EvaluationConfig, read_config

    values = shared.settings() | {"data": data, "bench": bench}
    if (out / "config.yaml").exists():  # settings that this command has no options for
        found = read_config(out / "config.yaml", EvaluationConfig)
        values |= {"library": found.library, "max_steps": found.max_steps, "dialect": found.dialect}
    selected = _select(_evaluation_plan(None, values, []), models, shared)
    silence_libraries()
    from tltrain.cli.progress import show_progress
    from tltrain.evaluation.run import Evaluation
    from tltrain.evaluation.token_importance import analyze as run_analysis
    from tltrain.report.analysis_page import analysis_lines, write_analysis
    from tltrain.run_directory import RunDirectory

    with interruptible(RESUME), show_progress(stderr) as progress:
        run = RunDirectory(out, selected.config)
        evaluation = Evaluation(selected.config, run, progress=progress, dialects=selected.dialects)
        rows = run_analysis(evaluation, selected.models, _test_sets(evaluation, bench), print_status)
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
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the web browser.")] = False,
) -> None:
    """Rebuild the HTML pages of a run directory from its saved results."""
    from tltrain.evaluation.significance import write_significance
    from tltrain.report.pages import write_pages

    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: no such run directory")
    if not (run_dir / "comparison.json").exists():
        write_significance(run_dir)  # runs of earlier versions have none
    pages = write_pages(run_dir)
    print_status(f"written: {', '.join(map(str, pages))}")
    if open_page and not webbrowser.open(pages[0].resolve().as_uri()):
        print_status(f"no web browser found; open {pages[0]} yourself")


@dataclass(frozen=True, slots=True)
class Selected:
    """The models of an evaluation by name, the dialects given for them, and the settings."""

    config: EvaluationConfig
    models: dict[str, Model]
    dialects: dict[str, str]


def _evaluation_plan(path: Path | None, options: Mapping[str, Any], settings: Sequence[str]) -> EvaluationFile:
    """The configuration of an evaluation: a file, then the options that are given, then `--set`."""
    from tltrain.config import EvaluationFile, parse_config, read_config

    plan = EvaluationFile() if path is None else read_config(path, EvaluationFile)
    given = {name: value for name, value in options.items() if value is not None}
    return parse_config({**plan.model_dump(exclude_unset=True), **given}, "options", EvaluationFile, settings)


def _check_sets(plan: EvaluationFile, library: str | None, max_steps: int | None, general: str | None) -> None:
    if plan.bench is None and plan.trajectories is None and general is None:
        raise ConfigError("expected --bench NAMES, --data with trajectories, or --general with tasks")
    if plan.bench is not None and plan.data is not None and Path(plan.data).is_file():
        raise ConfigError(
            f"{plan.data}: with --bench, --data is the folder of the test sets; evaluate your own trajectories apart"
        )
    if plan.bench is None and library is not None:
        raise ConfigError("--library executes ToolEyes' calls: it has no use without --bench")
    if plan.bench is None and max_steps is not None:
        raise ConfigError("--max-steps limits queries whose calls are executed: it has no use without --bench")


def _select(plan: EvaluationFile, models: Sequence[str], shared: SharedOptions) -> Selected:
    """The models of the configuration and of the command line, and how each writes calls.

    Raises:
        ConfigError: no model, two of the same name, or a dialect for a model that is not there.
    """
    from tltrain.config import EvaluationConfig
    from tltrain.evaluation.selection import name_dialects, name_models

    listed = [f"{name}={entry.model}" for name, entry in plan.models.items()]
    named = name_models([*listed, *models], shared.endpoint_model, shared.concurrency)
    if not named:
        raise ConfigError("no model to evaluate: name one, or list some under `models` in the configuration")
    given = {name: entry.dialect for name, entry in plan.models.items() if entry.dialect is not None}
    given |= name_dialects(shared.dialect, named) if shared.dialect else {}
    fields = {name: getattr(plan, name) for name in EvaluationConfig.model_fields}
    return Selected(EvaluationConfig(**fields), named, given)


def _own_sets(data: str | None) -> list[TestSet]:
    """Trajectories as a test set."""
    if data != "toolworld":
        require_path(str(data))
    from tltrain.evaluation.selection import load_trajectories

    return load_trajectories(str(data))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The rows of `scores.json` and `general.json`, and the pages written."""

    scores: list[dict[str, Any]]
    general: list[dict[str, Any]]
    pages: list[Path]


def _evaluated(
    plan: EvaluationFile,
    selected: Selected,
    own_sets: list[TestSet],
    out: Path,
    *,
    prices: tuple[float | None, float | None],
    general: str | None,
) -> Evaluated:
    from tltrain.cli.progress import show_progress
    from tltrain.evaluation.run import Evaluation
    from tltrain.report.pages import write_pages
    from tltrain.run_directory import RunDirectory

    with show_progress(stderr) as progress:
        run = RunDirectory(out, selected.config)
        evaluation = Evaluation(selected.config, run, progress=progress, prices=prices, dialects=selected.dialects)
        tests = own_sets if plan.bench is None else _test_sets(evaluation, plan.bench)
        scores = evaluation.evaluate(selected.models, tests, general)
        return Evaluated(scores, evaluation.general_rows(), write_pages(out))


def _show_scores(done: Evaluated, names: list[str]) -> None:
    from tltrain.report.comparison import general_line
    from tltrain.report.tables import terminal_table, truncation_lines, usage_line

    if done.scores:
        Console().print(terminal_table(done.scores))
    used = [usage_line(done.scores, name) for name in names] if done.scores else []
    for line in [*truncation_lines(done.scores), *map(general_line, done.general), *used]:
        print_status(line)
    print_status(f"written: {', '.join(map(str, done.pages))}")


def _test_sets(evaluation: Evaluation, names: str) -> list[TestSet]:
    from tltrain.evaluation.selection import load_test_sets

    return load_test_sets(names, evaluation.data, print_status)
