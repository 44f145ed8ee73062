"""A whole run on a micro model: what stands in its directory, what a second call does, and a kill at any moment."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import weakref
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.small_run import call, mistake, write_run
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

from tltrain import model as models
from tltrain.cli import main
from tltrain.config import read_config
from tltrain.files import read_json, read_json_lines
from tltrain.pipeline import Pipeline

MODELS = ("sft/sft/model", "sft/mae+pkt/model", "ppo/model")
ROWS = ("base", "sft", "mae+pkt", "mae+pkt+irm")


@dataclass(frozen=True)
class Finished:
    config: Path
    folder: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("whole")
    config = write_run(place)
    return Finished(config, place / "run", *call("run", config, "--out", place / "run", "--json"))


def files(folder: Path) -> dict[str, int]:
    """Every file and when it was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_run_directory_is_complete(finished: Finished) -> None:
    assert finished.code == 0, finished.err
    arms = [f"sft/{arm}/{name}" for arm in ("sft", "mae+pkt") for name in ("encoding.json", "metrics.jsonl")]
    predictions = [f"predictions/{row}.train.{split}.jsonl" for row in ROWS for split in ("seen", "unseen")]
    parts = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    models = [f"{model}/{part}" for model in MODELS for part in (*parts, "chat_template.jinja", "README.md")]
    top = ["config.yaml", "data.json", "environment.json", "audit.json", "stages.json", "scores.json", "report.html"]
    top += ["comparison.json", "comparison.md", "comparison.html"]
    ppo = ["ppo/metrics.jsonl", "ppo/rollouts.jsonl"]
    ppo += ["ppo/adapter/adapter_config.json", "ppo/adapter/adapter_model.safetensors"]
    assert sorted(files(finished.folder)) == sorted([".lock", *top, *arms, *ppo, *predictions, *models])


def test_the_output_is_the_scores_and_nothing_else(finished: Finished) -> None:
    assert json.loads(finished.out) == read_json(finished.folder / "scores.json")
    assert "ppo: 2 of 2" in finished.err


def test_every_model_is_scored_on_every_split(finished: Finished) -> None:
    rows = read_json(finished.folder / "scores.json")
    assert [(row["model"], row["split"]) for row in rows] == [(m, s) for m in ROWS for s in ("seen", "unseen")]
    for row in rows:
        assert {"model", "bench", "split", "items", "n", "TS", "PI", "CF", "se", "errors"} <= row.keys()
        assert row["bench"] == "train"
        lines = read_json_lines(finished.folder / "predictions" / f"{row['model']}.train.{row['split']}.jsonl")
        assert row["n"] == len(lines) == sum(row["errors"].values()) > 0
        assert row["items"] >= row["n"]


def test_every_trained_model_has_a_card_with_its_scores_and_equal_permissions(finished: Finished) -> None:
    scores = read_json(finished.folder / "scores.json")
    digest = read_json(finished.folder / "data.json")[str(finished.config.parent / "data/train.jsonl")]
    for model, row in zip(MODELS, ROWS[1:], strict=True):
        card = (finished.folder / model / "README.md").read_text()
        assert digest in card and "has not been evaluated" not in card
        for one in scores:
            if one["model"] == row:
                called, text = one["gold_with_call"], one["gold_without_call"]  # few items, which are shown as counts
                shares = [(called, "TS"), (called, "PI"), (called, "CF"), (text, "TS")]
                counts = [f"{round(part[metric] * part['n'] / 100)} of {part['n']}" for part, metric in shares]
                cells = " | ".join([*counts, f"{called['n']}+{text['n']}"])
                assert f"| train {one['split']} | **this model** | {cells} |" in card
    parts = [path for path in finished.folder.rglob("*") if path.parent.name in ("model", "adapter")]
    assert len({path.stat().st_mode for path in parts}) == 1


def test_the_environment_tells_what_ran(finished: Finished) -> None:
    said = read_json(finished.folder / "environment.json")
    assert said["seed"] == 0
    assert said["versions"]["torch"] == torch.__version__
    assert {"cpu", "cores", "memory_gb", "gpu"} <= said["hardware"].keys()


def test_the_configuration_is_written_with_all_its_defaults(finished: Finished) -> None:
    written = read_config(finished.folder / "config.yaml")
    assert written == read_config(finished.config)
    assert written.to_yaml() == (finished.folder / "config.yaml").read_text()
    assert "w_max: 9" in written.to_yaml()


def test_metrics_have_every_step_once(finished: Finished) -> None:
    for arm in ("sft", "mae+pkt"):
        assert [line["step"] for line in read_json_lines(finished.folder / f"sft/{arm}/metrics.jsonl")] == [1, 2, 3, 4]
    lines = read_json_lines(finished.folder / "ppo/metrics.jsonl")
    assert [line["rollout"] for line in lines] == [1, 2]
    assert {"reward", "kl", "call_rate", "reply_length"} <= lines[0].keys()
    assert lines[0]["replies"] == 4


@pytest.mark.parametrize("model", MODELS)
def test_trained_models_load_in_plain_transformers(finished: Finished, model: str) -> None:
    script = f"""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(finished.folder / model)!r})
model = AutoModelForCausalLM.from_pretrained({str(finished.folder / model)!r})
tool = {{"type": "function", "function": {{"name": "get_order", "description": "", "parameters": {{}}}}}}
asked = [{{"role": "user", "content": "Where is it?"}}]
text = tokenizer.apply_chat_template(asked, tools=[tool], add_generation_prompt=True, tokenize=False)
assert '"get_order"' in text and text.endswith("<|im_start|>assistant\\n"), text
ids = tokenizer(text, return_tensors="pt").input_ids
reply = model.generate(ids, max_new_tokens=3, do_sample=False)
assert reply.shape[1] > ids.shape[1]
"""
    if model == MODELS[-1]:  # one whole process apart, in which nothing of ours is loaded
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=300)
    else:
        exec(script, {})


def test_training_moved_the_weights(finished: Finished) -> None:
    states = [load_file(finished.folder / model / "model.safetensors") for model in MODELS]
    states.append(load_file(finished.config.parent / "model/model.safetensors"))
    for first in range(len(states)):
        for second in range(first):
            assert any(not torch.equal(states[first][name], states[second][name]) for name in states[first])


def test_a_second_call_changes_nothing(finished: Finished) -> None:
    before = files(finished.folder)
    page = (finished.folder / "report.html").read_bytes()
    code, out, err = call("run", finished.config, "--out", finished.folder, "--json")
    assert (code, json.loads(out)) == (0, json.loads(finished.out)), err
    assert " of " not in err, "no stage ran"
    after = files(finished.folder)
    assert (finished.folder / "report.html").read_bytes() == page  # rebuilt, to the same page
    for name in ("report.html", "comparison.json", "comparison.md", "comparison.html"):
        assert before.pop(name) <= after.pop(name)
    assert before == after


def test_a_changed_configuration_is_refused_by_its_keys(finished: Finished, tmp_path: Path) -> None:
    values = yaml.safe_load(finished.config.read_text())
    values["ppo"]["beta"] = 0.5
    values["seed"] = 7
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(values))
    before = files(finished.folder)
    said = mistake("run", changed, "--out", finished.folder)
    assert said == (
        f"{finished.folder}: holds a run of another configuration: seed was 0, is 7; ppo.beta was 0.4, is 0.5; "
        "use another --out, or --overwrite"
    )
    assert files(finished.folder) == before


def test_no_test_item_is_read_in_training(finished: Finished, tmp_path: Path) -> None:
    """Other test items, other scores, but the same weights."""
    place = tmp_path / "other"
    config = write_run(place)
    shutil.copy(place / "data/unseen.jsonl", place / "data/seen.jsonl")
    for stage in ("sft", "ppo"):
        code, _, err = call(stage, config, "--out", place / "run")
        assert code == 0, err
    for model in MODELS:
        assert weights(place / "run", model) == weights(finished.folder, model)
    assert not (place / "run/scores.json").exists()


def weights(folder: Path, model: str) -> bytes:
    return (folder / model / "model.safetensors").read_bytes()


@pytest.fixture
def place_of_one(tmp_path: Path) -> Path:
    """A folder with the configuration of a single arm."""
    write_run(tmp_path, ppo=None)
    values = yaml.safe_load((tmp_path / "small.yaml").read_text())
    values["sft"]["arms"] = ["sft"]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def test_an_evaluated_model_is_let_go_before_the_next_is_loaded(
    place_of_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model would otherwise stay in memory while the next one is trained."""
    loaded: list[weakref.ref[torch.nn.Module]] = []
    load = models.load_model

    def watched(*given: Any, **named: Any) -> Any:
        gc.collect()
        assert all(model() is None for model in loaded), "an earlier model is still there"
        model = load(*given, **named)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("tltrain.model.load_model", watched)
    Pipeline(read_config(place_of_one / "small.yaml"), place_of_one / "run").all(("sft", "eval"))
    assert len(loaded) == 3, "to evaluate, to train, and to evaluate what was trained"


def test_a_run_that_starts_anew_reads_nothing_of_the_old_one(place_of_one: Path) -> None:
    """Not its limit on replies either, even if the old configuration can no longer be read."""
    old = place_of_one / "old"
    old.mkdir()
    (old / "environment.json").write_text("{}")
    (old / "config.yaml").write_text("eval: {max_new_tokens: 8}\nretired: 1\n")
    config = read_config(place_of_one / "small.yaml", overrides=["eval.max_new_tokens=null"])
    limit = Pipeline(config, old, overwrite=True).config.eval
    assert limit == Pipeline(config, place_of_one / "new").config.eval
    assert limit is not None and limit.max_new_tokens != 8


# A kill at any moment


def die_at(arguments: list[str], commit: int, after: bool) -> None:
    """In a process of its own: run, and be killed before or after a rename: all that is written appears by one."""
    counted = 0

    def counting(function: Any) -> Any:
        def wrapper(*given: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == commit and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*given)
            if counted == commit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    Path.rename = counting(Path.rename)  # type: ignore[method-assign]
    Path.replace = counting(Path.replace)  # type: ignore[method-assign]
    run_quietly(arguments)


def run_quietly(arguments: list[str]) -> None:
    with contextlib.redirect_stdout(StringIO()), contextlib.redirect_stderr(StringIO()):
        main(arguments)


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that begin with the libraries loaded, so that a dozen of them cost little."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_pipeline", "tltrain.pipeline", "tltrain.ppo.trainer"])
    return context


def assert_whole(folder: Path) -> None:
    """Nothing under its final name is half there."""
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            for line in path.read_text().split("\n")[:-1]:
                json.loads(line)
        elif path.suffix == ".safetensors":
            assert load_file(path)
        elif path.suffix == ".pt":
            assert torch.load(path, weights_only=True)["done"]
        elif path.name == "model":
            assert {"config.json", "model.safetensors", "tokenizer.json"} <= {part.name for part in path.iterdir()}


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("seconds", "replies_per_second")}


def assert_same_run(folder: Path, reference: Path) -> None:
    for model in MODELS:
        assert weights(folder, model) == weights(reference, model), model
    for name in ("sft/sft/metrics.jsonl", "sft/mae+pkt/metrics.jsonl", "ppo/metrics.jsonl"):
        lines, expected = (read_json_lines(place / name) for place in (folder, reference))
        assert list(map(without_times, lines)) == list(map(without_times, expected))
    assert (folder / "ppo/rollouts.jsonl").read_bytes() == (reference / "ppo/rollouts.jsonl").read_bytes()
    for path in reference.glob("predictions/*.jsonl"):
        assert (folder / "predictions" / path.name).read_bytes() == path.read_bytes()
    assert read_json(folder / "scores.json") == read_json(reference / "scores.json")
    assert files(folder).keys() == files(reference).keys(), "and nothing is left over"


def test_killed_at_renames_the_run_ends_the_same(finished: Finished, processes: Any, tmp_path: Path) -> None:
    """Each process is killed just before or after a rename, some of them between the two of a commit."""
    rng, folder, kills = random.Random(0), tmp_path / "run", 0
    arguments = ["run", str(finished.config), "--out", str(folder)]
    while True:
        process = processes.Process(target=die_at, args=(arguments, rng.randint(2, 14), rng.random() < 0.5))
        process.start()
        process.join(300)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        assert kills < 60, "it gets nowhere"
        assert_whole(folder)
    assert kills >= 6
    assert_same_run(folder, finished.folder)


@pytest.mark.slow
def test_a_model_that_cannot_share_prefixes_runs_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_run(tmp_path, ppo=None)
    torch.manual_seed(0)
    vocabulary = len(AutoTokenizer.from_pretrained(tmp_path / "model"))
    mamba = MambaConfig(
        vocab_size=vocabulary, hidden_size=16, state_size=4, num_hidden_layers=1, bos_token_id=1, eos_token_id=2
    )
    MambaForCausalLM(mamba).save_pretrained(tmp_path / "model")
    code, out, err = call("run", config, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    said = "no prefix is shared, sequences run one by one: MambaForCausalLM has layers of kind linear_attention"
    assert caplog.messages.count(said) == 1
    assert [row["model"] for row in json.loads(out)] == [name for name in ROWS[:3] for _ in range(2)]
    for row in read_json_lines(tmp_path / "run" / "sft" / "sft" / "metrics.jsonl"):
        assert row["tokens"] == row["separate_tokens"] > 0
