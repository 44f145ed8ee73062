"""The commands that prepare a run: init, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tltrain.cli.app import (
    AllowCode,
    ConfigFile,
    FormatName,
    Json,
    Set,
    ToolsFile,
    app,
    print_status,
    silence_libraries,
    stderr,
)
from tltrain.errors import ConfigError
from tltrain.progress import quantity

ModelName = Annotated[str, typer.Option(help="The model to train: the built-in model, a folder, or a hub name.")]


@app.command()
def init(
    logs: Annotated[str, typer.Argument(help="File or folder of trajectories, in any format.")],
    model: ModelName = "smollm2-135m",
    out: Annotated[Path | None, typer.Option(help="File to write; by default the data's name with .yaml.")] = None,
    format: FormatName = None,
    tools: ToolsFile = None,
    allow_code: AllowCode = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """A commented configuration with settings that fit your logs."""
    from tltrain.cli.progress import show_progress
    from tltrain.files import write_text
    from tltrain.planning.commented import commented_yaml
    from tltrain.planning.proposal import configuration_path, propose

    if logs == "-":
        raise ConfigError("init -: a configuration names its data, so save the logs to a file first")
    path = out or configuration_path(logs)
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; choose another file with --out, or replace it with --overwrite")
    silence_libraries()
    with show_progress(stderr, enabled=stderr.is_terminal) as progress:
        proposal = propose(logs, model, format, tools, allow_code=allow_code, progress=progress(f"audit {logs}"))
    found = proposal.audit
    config = proposal.config
    write_text(path, commented_yaml(proposal))
    if as_json:
        reasons = {".".join(setting.path): setting.reason for setting in proposal.settings}
        result = {
            "path": str(path),
            "config": config.model_dump(),
            "reasons": reasons,
            "headline": found["headline"],
            "warnings": found["warnings"],
            "unreadable": len(proposal.problems),
        }
        print(json.dumps(result, ensure_ascii=False))
        return
    for line in proposal.found:
        print_status(line)
    for warning in found["warnings"]:
        print_status(f"warning: {warning}")
    if number := len(proposal.problems):
        print_status(f"{quantity(number, 'record')} could not be read; the first: {proposal.problems[0]}")
    print_status(f"written: {path}")
    print(found["headline"])
    print_status(f"next: tltrain plan {path}  (time, memory and problems), then tltrain run {path}")


@app.command()
def plan(
    config: ConfigFile,
    settings: Set = None,
    gpu: Annotated[
        str | None,
        typer.Option(help='Estimate for a GPU such as "H100 80GB" from its data sheet, not for this machine.'),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a run will do, how long it takes and how much memory it needs; trains nothing."""
    from tltrain.config import read_config
    from tltrain.planning.plan import make_plan
    from tltrain.planning.tables import plan_tables

    silence_libraries()
    planned = make_plan(read_config(config, overrides=settings or ()), gpu)
    if as_json:
        print(json.dumps(planned.to_json(), ensure_ascii=False))
        return
    console = Console()
    for table in plan_tables(planned):
        console.print(table)
    for line in planned.last_lines():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
