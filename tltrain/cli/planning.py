"""The commands that prepare a run: init, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.app import FormatName, Json, ToolsFile, app, print_status, silence_libraries
from tltrain.errors import ConfigError

ModelName = Annotated[str, typer.Option(help="The model to train: the built-in model, a folder, or a hub name.")]


@app.command()
def init(
    logs: Annotated[str, typer.Argument(help="File or folder of trajectories, in any format.")],
    model: ModelName = "smollm2-135m",
    out: Annotated[Path | None, typer.Option(help="File to write; by default the data's name with .yaml.")] = None,
    format: FormatName = None,
    tools: ToolsFile = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """A commented configuration with settings that fit your logs."""
    from tltrain.files import write_text
    from tltrain.planning.commented import commented_yaml
    from tltrain.planning.proposal import configuration_path, propose

    path = out or configuration_path(logs)
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; choose another file with --out, or replace it with --overwrite")
    silence_libraries()
    proposal = propose(logs, model, format, tools)
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
    for warning in found["warnings"]:
        print_status(f"warning: {warning}")
    if number := len(proposal.problems):
        print_status(f"{number} record{'s' * (number > 1)} could not be read; the first: {proposal.problems[0]}")
    print_status(f"written: {path}")
    print(found["headline"])
    print_status(f"next: tltrain plan {path}  (time, memory and problems), then tltrain run {path}")
