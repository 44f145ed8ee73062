"""What the Trainer adds to SFT: held-out loss, early stop, recomputed layers, trackers, checkpoints on a full disk."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support.micro import ORDER_TOOLS, micro_model, micro_trajectories
from support.training import LORA, TOKENIZER, KilledError, kill_at, lines, naive_loss, trainer, weights

from tltrain import SFTTrainer, sft
from tltrain.config import HeldOutConfig, OptimiserConfig
from tltrain.data import opening
from tltrain.encode import Encoder
from tltrain.engine.checkpoint import load_checkpoint, numbered
from tltrain.engine.layers import layers_of
from tltrain.errors import ConfigError, DataError, ModelError, RunError
from tltrain.trajectory import Call, Message, Trajectory

HELD = HeldOutConfig(share=0.3, every=2)


def test_it_is_a_trainer() -> None:
    assert issubclass(SFTTrainer, transformers.Trainer)


# Held-out loss and early stop


def test_the_held_out_loss_is_measured_on_steps_no_update_sees(tmp_path: Path) -> None:
    trained = trainer(tmp_path, held_out=HELD, epochs=2, batch_size=3)
    used = {index for batch in trained.order for index in batch}
    assert used.isdisjoint(trained.held)
    assert used | set(trained.held) == set(range(8))
    assert {opening(micro_trajectories()[index]) for index in used}.isdisjoint(
        opening(micro_trajectories()[index]) for index in trained.held
    )
    counts = trained.train()
    rows = lines(tmp_path)
    assert [row["step"] for row in rows if "eval_loss" in row] == [2, 4]
    encoder = Encoder(TOKENIZER)
    held = [step for index in trained.held for step in encoder.steps(micro_trajectories()[index])]
    with torch.no_grad():
        assert rows[-1]["eval_loss"] == pytest.approx(naive_loss(trained.model, held).item(), rel=1e-5)
    assert counts.replies == sum(len(list(micro_trajectories()[index].replies())) for index in used)


def test_the_last_update_is_evaluated_whatever_its_number(tmp_path: Path) -> None:
    trainer(tmp_path, held_out=HELD, epochs=1, batch_size=2).train()
    assert [row["step"] for row in lines(tmp_path) if "eval_loss" in row] == [2, 3]


def test_patience_stops_and_keeps_the_best_weights(tmp_path: Path) -> None:
    """A rate that makes things worse, so that an early evaluation stays the best."""
    wild = {"optimiser": OptimiserConfig(learning_rate=0.3, warmup=0), "batch_size": 2, "epochs": 10}
    trained = trainer(tmp_path, held_out=HeldOutConfig(share=0.3, every=1, patience=2), **wild)
    trained.train()
    losses = [row["eval_loss"] for row in lines(tmp_path)]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < len(trained.order)
    encoder = Encoder(TOKENIZER)
    held = [step for index in trained.held for step in encoder.steps(micro_trajectories()[index])]
    with torch.no_grad():
        assert naive_loss(trained.model, held).item() == pytest.approx(min(losses), rel=1e-4)
    assert not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize("killed", [1, 3])
def test_an_early_stop_after_a_kill_is_the_same(tmp_path: Path, killed: int) -> None:
    wild = {"optimiser": OptimiserConfig(learning_rate=0.3, warmup=0), "batch_size": 2, "epochs": 10}
    wild["held_out"] = HeldOutConfig(share=0.3, every=1, patience=2)
    trainer(tmp_path / "whole", **wild).train()
    with pytest.raises(KilledError):
        trainer(tmp_path / "parts", progress=kill_at(killed), **wild).train()
    trainer(tmp_path / "parts", **wild).train()
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_share_that_holds_out_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft.held_out.share 0.01: holds out 0 of 8 trajectories"):
        trainer(tmp_path, held_out=HeldOutConfig(share=0.01))


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    failed = [
        Trajectory((Message("user", f"{n}"), Message("assistant", None, (Call("no_tool"),))), ORDER_TOOLS, f"{n}")
        for n in range(40)
    ]
    good = micro_trajectories()
    with pytest.raises(DataError, match=r"nothing to evaluate: no reply of the [0-9]+ held-out trajectories is left"):
        for seed in range(20):
            one = trainer(tmp_path / str(seed), [*good[:1], *failed], held_out=HeldOutConfig(share=0.5), seed=seed)
            if 0 not in one.held:
                one.train()


# Layers computed again


@pytest.mark.parametrize("lora", [None, LORA])
def test_recomputed_layers_give_the_same_weights(tmp_path: Path, lora: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer(tmp_path / "kept", lora=lora).train()
    model = micro_model(len(TOKENIZER))
    layer = layers_of(model)[0]
    forward, counted = type(layer).forward, 0

    def counting(*given: Any, **options: Any) -> Any:
        nonlocal counted
        counted += 1
        return forward(*given, **options)

    monkeypatch.setattr(type(layer), "forward", counting)
    trained = trainer(tmp_path / "again", model=model, lora=lora, gradient_checkpointing=True)
    before = counted
    trained.train()
    assert counted - before >= 2 * 2 * len(lines(tmp_path / "again")), "each of two layers, there and back"
    assert "forward" not in vars(layer)
    expected, found = weights(tmp_path / "kept"), weights(tmp_path / "again")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_model_without_known_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="Linear has no layers that can be sharded or recomputed"):
        layers_of(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


# Progress and trackers


def test_progress_tells_loss_and_speed(tmp_path: Path) -> None:
    told: list[str] = []
    trainer(tmp_path, progress=lambda what, done, total: told.append(f"{done}/{total} {what}")).train()
    assert len(told) == 4
    for number, text in enumerate(told, 1):
        parts = text.split(", ")
        assert parts[0].startswith(f"{number}/4 loss ")
        assert parts[1].endswith(" tokens/s") and parts[2].endswith(" distinct tokens/s")


def test_a_tracker_that_is_not_there_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"sft.report_to: trackio is not installed; run `pip install trackio`"):
        trainer(tmp_path, report_to=["trackio"])


def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer(tmp_path, report_to=["tensorboard"], held_out=HELD, batch_size=3).train()
    (folder,) = (tmp_path / "runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    rows = lines(tmp_path)
    found = {event.step: event.value for event in events.Scalars("train/loss")}
    assert found == {row["step"]: pytest.approx(row["loss"], rel=1e-5) for row in rows}
    assert {"train/grad_norm", "train/tokens_per_second", "train/distinct_tokens_per_second", "eval/loss"} <= set(
        events.Tags()["scalars"]
    )


def test_nothing_goes_to_the_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path).train()
    assert capsys.readouterr().out == ""


# Checkpoints


def test_the_checkpoint_before_goes_only_when_the_next_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = torch.save, 0

    def limited(state: Any, to: Path) -> None:
        nonlocal saved
        saved += 1
        if saved == 2:
            Path(to).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(state, to)

    trainer(tmp_path / "whole", epochs=2).train()
    folder = tmp_path / "parts"
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", limited)
        with pytest.raises(RunError, match="checkpoint-4: no space left on the device"):
            trainer(folder, epochs=2).train()
    (left,) = numbered(folder)
    assert left.name == "checkpoint-2"
    state = load_checkpoint(left / "state.pt")
    assert state is not None and state["done"] == 2
    assert json.loads((left / "trainer_state.json").read_text())["global_step"] == 2
    assert not list(folder.glob(".*"))
    trainer(folder, epochs=2).train()
    assert lines(folder) == lines(tmp_path / "whole")
    expected, found = weights(tmp_path / "whole"), weights(folder)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """Room for one checkpoint of 400 kB and not for two; then there is more, and the run goes on."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs leave to mount a file system")
    script = """
import subprocess, sys
from pathlib import Path
from support.training import trainer
from tltrain.errors import RunError
folder = Path(sys.argv[1])
for _ in range(2):
    try:
        trainer(folder, epochs=2).train()
        print(sorted(path.name for path in folder.iterdir()))
    except RunError as error:
        print(error)
        print(sorted(path.name for path in folder.iterdir()))
    subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
"""
    command = f'mount -t tmpfs -o size=700k none "{tmp_path}" && exec "{sys.executable}" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", script],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parent,
    )
    if "mount" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip("needs leave to mount a file system")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/checkpoint-4: no space left on the device",
        "['checkpoint-2', 'encoding.json', 'metrics.jsonl']",
        "['encoding.json', 'metrics.jsonl', 'model']",
    ], done.stderr


# Quantised bases


@pytest.mark.parametrize("base", ["4bit", "8bit"])
def test_a_quantised_base_is_refused_where_it_cannot_be(tmp_path: Path, base: str) -> None:
    from support.small_run import mistake, write_run

    run = write_run(tmp_path, ppo=None, sft={"lora": {"base": base}})
    assert mistake("sft", run, "--out", tmp_path / "run") == f"lora.base {base}: needs a CUDA GPU, the device is cpu"


def test_a_quantised_base_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from tltrain import model as models

    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"lora.base 4bit: needs bitsandbytes; run `pip install 'tltrain"):
        models.quantisation_options("4bit", torch.bfloat16, "cuda:0")
    monkeypatch.setattr(models, "find_spec", lambda name: builtins)
    options = models.quantisation_options("4bit", torch.bfloat16, "cuda:0")
    assert options["device_map"] == {"": "cuda:0"}
    assert options["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16


def test_adapters_over_a_quantised_base_are_merged_into_the_model_as_it_is_in_its_files(tmp_path: Path) -> None:
    """With a model that is not really quantised, both ways to the saved one give the same."""
    trainer(tmp_path / "plain", lora=LORA).train()
    one = trainer(tmp_path / "reloaded", lora=LORA.model_copy(update={"base": "4bit"}))
    one.reload = lambda: micro_model(len(TOKENIZER))
    one.train()
    expected, found = weights(tmp_path / "plain"), weights(tmp_path / "reloaded")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
