"""The commands that train: demo, run, sft, ppo."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tltrain.cli.app import ConfigFile, Json, Out, app, interruptible, print_status, silence_libraries, stderr
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from tltrain.config import RunConfig


@app.command()
def demo(
    size: Annotated[float, typer.Option(min=0.01, help="Multiplies everything that takes time.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Random seed for data, ordering and sampling.")] = 0,
    as_json: Json = False,
) -> None:
    """The whole pipeline on the built-in model and data, on a CPU."""
    from tltrain.demo import demo_config

    print_status(
        "The whole pipeline on a 135M model and toolworld (the first run also fetches the model, 93 MB). "
        "An interrupted run resumes where it stopped. Measuring how long it takes on this machine …"
    )
    _run(demo_config(size, seed), out, None, as_json)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML configuration of the run, or a file or folder of logs.")],
    out: Out = None,
    model: Annotated[str | None, typer.Option(help="For logs: the model to train; by default smollm2-135m.")] = None,
    as_json: Json = False,
) -> None:
    """The whole pipeline on your own data: by a configuration, or by settings that fit your logs."""
    from tltrain.planning.proposal import configuration_path, is_data

    if is_data(config):
        _run(_proposed(config, model), out or Path("runs") / configuration_path(str(config)).stem, None, as_json)
        return
    if model is not None:
        raise ConfigError(f"--model: {config} is a configuration, which names its own model")
    _run(_read(config), _folder(out, config), None, as_json)


def _proposed(logs: Path, model: str | None) -> RunConfig:
    """Settings that fit the logs, as `tltrain init` writes them."""
    from tltrain.model import BUILTIN
    from tltrain.planning.proposal import propose

    silence_libraries()
    print_status(f"{logs}: data, not a configuration; the settings are those of `tltrain init {logs}`")
    proposal = propose(str(logs), model or BUILTIN)
    print_status(proposal.audit["headline"])
    return proposal.config


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


def _read(path: Path) -> RunConfig:
    from tltrain.config import read_config

    return read_config(path)


def _folder(out: Path | None, config: Path) -> Path:
    return out or Path("runs") / config.stem


def _run(config: RunConfig, folder: Path, stages: tuple[str, ...] | None, as_json: bool) -> None:
    silence_libraries()
    from tltrain.cli.progress import show_progress
    from tltrain.pipeline import STAGES, Pipeline
    from tltrain.report.tables import terminal_table, truncation_lines

    message = "interrupted; the same command resumes from the last checkpoint"
    with interruptible(message), show_progress(stderr) as progress:
        pipeline = Pipeline(config, folder, progress)
        outlook = pipeline.outlook(stages or STAGES)
        for line in outlook.last_lines() if outlook is not None else ():
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
