"""The list of experiments: every command is one that `tltrain` accepts, and what runs them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import evidence
import pytest
import typer

from tltrain.ablation.grid import default_arms, parse_sweep, plan
from tltrain.ablation.results import write_results
from tltrain.cli.app import app
from tltrain.config import read_config
from tltrain.evaluation.significance import write_significance
from tltrain.report.ablation.files import write_ablation
from tltrain.report.comparison import write_comparison

REPOSITORY = Path(__file__).parents[1]
EXPERIMENTS = evidence.read_experiments(REPOSITORY / evidence.EXPERIMENTS)
COMMANDS = [command for one in EXPERIMENTS for command in one.commands]


def parsed(command: str) -> tuple[str, dict[str, Any]]:
    program, name, *arguments = shlex.split(command)
    assert program == "tltrain"
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return name, commands[name].make_context(name, arguments).params


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_accepted(command: str) -> None:
    name, options = parsed(command)
    if name == "ablate":
        config = read_config(REPOSITORY / options["path"], overrides=options["settings"] or ())
        arms = options["arms"].split(",") if options["arms"] else default_arms(config)
        sweeps = [parse_sweep(sweep, config) for sweep in options["sweep"] or []]
        runs = plan(config, [int(seed) for seed in options["seeds"].split(",")], arms, sweeps)
        assert len({run.seed for run in runs if run.seed is not None}) == 3


def test_experiments_share_a_folder_only_with_the_same_configuration() -> None:
    configurations: dict[str, set[str]] = {}
    for _, options in map(parsed, COMMANDS):
        configurations.setdefault(str(options["out"]), set()).add(str(options.get("path")))
    assert all(len(paths) == 1 for paths in configurations.values())
    assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS)


def experiments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "recipes/evidence").mkdir(parents=True)
    rows = [
        "- {name: works, question: 'One?', hours: 1.5, commands: [tltrain formats]}",
        "- {name: fails, question: 'Two?', hours: 2, commands: [tltrain score, tltrain formats]}",
        "- {name: waits, question: 'Three?', hours: 3, needs: [data/x], get: fetch it, commands: [tltrain formats]}",
    ]
    (folder / evidence.EXPERIMENTS).write_text("\n".join(rows))
    monkeypatch.chdir(folder)


def test_the_list_says_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments(tmp_path, monkeypatch)
    assert evidence.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "works             about 1.5 h   One?\n" in out
    assert "Three? (needs data/x: fetch it)\n" in out
    assert out.endswith("together about 6.5 hours on two idle CPU cores\n")


def test_a_failed_experiment_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments(tmp_path, monkeypatch)
    called: list[list[str]] = []

    def pretend(arguments: list[str]) -> Any:
        called.append(arguments[1:])
        return type("Completed", (), {"returncode": int("score" in arguments)})

    monkeypatch.setattr(evidence.subprocess, "run", pretend)
    assert evidence.main(["fails", "waits", "works"]) == 1
    assert called == [["-m", "tltrain", "score"], ["-m", "tltrain", "formats"]]
    assert capsys.readouterr().out.endswith("failed: fails\nskipped: waits\n")


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(SystemExit) as ended:
        evidence.main(["nothing"])
    assert ended.value.code == 2
    assert "no such experiment: nothing; expected some of toolworld" in capsys.readouterr().err


def test_records_are_kept_by_git_and_the_rest_of_a_run_is_not() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout")

    def ignored(path: str) -> bool:
        return not subprocess.run(["git", "check-ignore", "--quiet", path], cwd=REPOSITORY).returncode

    assert not ignored("results/toolworld/runs/plain/seed-0/a-new-arm.jsonl.gz")
    assert not ignored("results/toolworld/ablation.html")
    assert ignored("results/toolworld/work/plain/seed-0/sft/config.yaml")
    assert ignored("runs/demo/report.html")


@pytest.mark.parametrize("folder", sorted((REPOSITORY / "results").glob("*/runs")), ids=lambda path: path.parent.name)
def test_the_tables_in_results_are_those_of_their_records(folder: Path, tmp_path: Path) -> None:
    """Byte for byte; the page's charts depend on the version of matplotlib."""
    shutil.copytree(folder, tmp_path / "runs")
    write_results(tmp_path)
    write_ablation(tmp_path)
    for name in ("ablation.json", "ablation.md"):
        assert (tmp_path / name).read_bytes() == (folder.parent / name).read_bytes()
    made, kept = ({path.name for path in place.glob("figures/*.svg")} for place in (tmp_path, folder.parent))
    assert made == kept != set()


def test_the_differences_in_general_ability_are_those_of_the_items(tmp_path: Path) -> None:
    saved = REPOSITORY / "results/general"
    shutil.copy(saved / "general.json", tmp_path)
    write_significance(tmp_path)
    write_comparison(tmp_path)
    for name in ("comparison.json", "comparison.md"):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
