"""The commands that train: demo, run, sft, ppo; and config, which prints their defaults."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tltrain.cli.app import (
    AllowCode,
    ConfigFile,
    Json,
    Out,
    Overwrite,
    Set,
    app,
    interruptible,
    print_status,
    silence_libraries,
    stderr,
)
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from tltrain.config import RunConfig
    from tltrain.pipeline import Pipeline
    from tltrain.planning.forecast import Forecast


@app.command()
def demo(
    size: Annotated[float, typer.Option(min=0.01, help="Scales the amounts of data.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Random seed for data, ordering and sampling.")] = 0,
    settings: Set = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline on the built-in model and data, on a CPU."""
    from tltrain.config import RunConfig, parse_config
    from tltrain.demo import demo_config

    config = parse_config(demo_config(size, seed).model_dump(), "demo", RunConfig, settings or ())
    print_status(
        "The whole pipeline on a 135M model and toolworld (the first run also fetches the model, 93 MB). "
        "An interrupted run resumes where it stopped. Measuring how long it takes on this machine …"
    )
    _run(config, out, None, as_json, overwrite)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML configuration of the run, or a file or folder of logs.")],
    out: Out = None,
    model: Annotated[str | None, typer.Option(help="For logs: the model to train; by default smollm2-135m.")] = None,
    allow_code: AllowCode = False,
    settings: Set = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline on your own data, with a configuration or with settings that fit your logs."""
    from tltrain.config import RunConfig, parse_config
    from tltrain.planning.proposal import configuration_path, is_data

    if is_data(config):
        proposed = parse_config(
            _proposed(config, model, allow_code).model_dump(), str(config), RunConfig, settings or ()
        )
        _run(proposed, out or Path("runs") / configuration_path(str(config)).stem, None, as_json, overwrite)
        return
    if model is not None:
        raise ConfigError(f"--model: {config} is a configuration, which names its own model")
    read = _read(config, settings)
    read = read.model_copy(update={"allow_code": read.allow_code or allow_code})
    _run(read, _folder(out, config), None, as_json, overwrite)


def _proposed(logs: Path, model: str | None, allow_code: bool) -> RunConfig:
    """Settings that fit the logs, as `tltrain init` writes them."""
    from tltrain.cli.progress import show_progress
    from tltrain.model import BUILTIN
    from tltrain.planning.proposal import propose

    silence_libraries()
    print_status(f"{logs}: data, not a configuration; the settings are those of `tltrain init {logs}`")
    with show_progress(stderr, enabled=stderr.is_terminal) as progress:
        show = progress(f"audit {logs}")
        proposal = propose(str(logs), model or BUILTIN, allow_code=allow_code, progress=show)
    print_status(proposal.audit["headline"])
    return proposal.config


@app.command()
def sft(
    config: ConfigFile, out: Out = None, settings: Set = None, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Run supervised fine-tuning only: every training arm of the configuration."""
    read = _read(config, settings)
    if read.sft is None:
        raise ConfigError(f"{config}: sft is null, so there is nothing to train")
    _run(read, _folder(out, config), ("sft",), as_json, overwrite)


@app.command()
def ppo(
    config: ConfigFile, out: Out = None, settings: Set = None, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Run PPO only, starting from the arm that `tltrain sft` trained in the same run directory.

    If the configuration has no SFT, PPO starts from the model itself.
    """
    read = _read(config, settings)
    if read.ppo is None:
        raise ConfigError(
            f"{config}: ppo is null, so there is nothing to train; `ppo: {{}}` stands for its default settings"
        )
    if overwrite and read.sft is not None:
        raise ConfigError("--overwrite would move away the SFT model that PPO starts from")
    _run(read, _folder(out, config), ("ppo",), as_json, overwrite)


@app.command("config")
def show_config(
    evaluation: Annotated[
        bool, typer.Option("--eval", help="Print the configuration of `tltrain eval` instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the defaults as JSON, without comments.")] = False,
) -> None:
    """Print the default configuration as YAML, with a description of every setting."""
    from tltrain.config import EvaluationFile, RunConfig, annotated_defaults

    kind = EvaluationFile if evaluation else RunConfig
    print(
        json.dumps(kind().model_dump(), ensure_ascii=False) if as_json else annotated_defaults(kind), end="\n" * as_json
    )


def _read(path: Path, settings: list[str] | None) -> RunConfig:
    from tltrain.config import read_config

    return read_config(path, overrides=settings or ())


def _folder(out: Path | None, config: Path) -> Path:
    return out or Path("runs") / config.stem


def _run(config: RunConfig, folder: Path, stages: tuple[str, ...] | None, as_json: bool, overwrite: bool) -> None:
    silence_libraries()
    from tltrain.cli.progress import show_progress
    from tltrain.engine import ranks
    from tltrain.pipeline import STAGES, Pipeline
    from tltrain.planning.forecast import Forecast
    from tltrain.report.tables import terminal_table, truncation_lines

    message = "interrupted; the same command resumes from the last checkpoint"
    with interruptible(message), show_progress(stderr) as progress:
        pipeline = Pipeline(config, folder, progress, overwrite)
        if ranks.rank() == 0 and (moved := pipeline.run.moved_to):
            print_status(f"the earlier run is now in {moved}")
        if ranks.rank() == 0:
            outlook = pipeline.outlook(stages or STAGES)
            estimate = outlook.last_lines() if outlook is not None else ()
            if outlook is not None:
                pipeline.run.stage_finished = _stage_reports(pipeline, Forecast(outlook, print_status))
            for line in (*pipeline.data.found, *estimate):
                print_status(line)
        scores = pipeline.all(stages or STAGES)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print(json.dumps(scores, ensure_ascii=False))
        return
    if scores:
        Console().print(terminal_table(scores))
    for line in truncation_lines(scores):
        print_status(line)
    print_status(f"run directory: {folder}")


def _stage_reports(pipeline: Pipeline, forecast: Forecast) -> Callable[[str, float], None]:
    """What is reported when a stage ends: the time left, and a first table once a trained model is scored."""
    from tltrain.report.tables import terminal_table

    shown = False

    def finished(stage: str, seconds: float) -> None:
        nonlocal shown
        forecast.finished(stage, seconds)
        trained = stage.startswith("eval ") and stage != f"eval {pipeline.base_name}"
        if trained and forecast.left and not shown:
            shown = True
            stderr.print(terminal_table(pipeline.run.scores()))

    return finished
