"""The command that compares the parts of the method: ablate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltrain.cli.app import Json, Set, app, interruptible, print_status, silence_libraries, stderr
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from tltrain.ablation.grid import Run
    from tltrain.ablation.run import Ablation
    from tltrain.config import RunConfig


@app.command()
def ablate(
    path: Annotated[Path, typer.Argument(help="YAML configuration; with --report, also the folder of an ablation.")],
    seeds: Annotated[str, typer.Option(help="Random seeds, separated by commas.")] = "0,1,2",
    arms: Annotated[
        str | None, typer.Option(help="Separated by commas; by default all eight, or the four without PPO.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="FIELD=V1,V2,…: each value of a configuration field; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default results/ and the configuration's name.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Only rebuild the tables from the recorded runs.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs at the same time; they share the CPU cores.")] = 1,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep models that have been evaluated.")] = False,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of an ablation with kept models: evaluate them, train only those it lacks."),
    ] = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """What MAE, PKT and IRM change: every combination, for several random seeds, with intervals.

    An interrupted ablation resumes with the same command; more seeds, arms and sweeps can be added to it later.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    folder = path if report and path.is_dir() else out or Path("results") / path.stem
    if not report:
        from tltrain.ablation.run import Ablation

        config, runs = _planned(path, seeds, arms, sweep or [], settings or [])
        silence_libraries()
        _execute(Ablation(config, folder, keep_models, models), runs, workers)
    found = _write(folder)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))


def _planned(
    path: Path, seeds: str, arms: str | None, sweeps: list[str], settings: list[str]
) -> tuple[RunConfig, list[Run]]:
    from tltrain.ablation.grid import default_arms, parse_sweep, plan
    from tltrain.config import read_config

    config: RunConfig = read_config(path, overrides=settings)
    named = default_arms(config) if arms is None else _parts(arms)
    return config, plan(config, _numbers(seeds), named, [parse_sweep(sweep, config) for sweep in sweeps])


def _execute(ablation: Ablation, runs: list[Run], workers: int) -> None:
    from tltrain.ablation.run import execute
    from tltrain.cli.progress import show_progress

    message = "interrupted; the same command resumes, and `tltrain ablate FOLDER --report` shows the runs so far"
    with interruptible(message), show_progress(stderr) as progress:

        def announce(text: str) -> None:
            progress.clear()  # an ablation has more stages than a terminal has lines
            print_status(text)

        execute(ablation, runs, workers=workers, progress=progress, announce=announce)


def _write(folder: Path) -> dict[str, Any]:
    from tltrain.ablation.results import write_results
    from tltrain.report.ablation.files import write_ablation
    from tltrain.report.ablation.headline import headline

    found = write_results(folder)
    pages = write_ablation(folder)
    print_status(headline(found))
    print_status(f"written: {', '.join(map(str, [folder / 'ablation.json', *pages]))}")
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in _parts(text)))
    except ValueError:
        raise ConfigError(f"--seeds {text}: expected whole numbers separated by commas, such as 0,1,2") from None
