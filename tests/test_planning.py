"""Plans of runs: limits on replies, work that equals that of training, time and memory, and problems."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.micro import ORDER_TOOLS, micro_model, micro_tokenizer, micro_trajectories
from support.small_run import call, mistake, write_run
from support.trained_micro import known, write_bfcl
from support.training import TOKENIZER, trainer

from tltrain.config import HeldOutConfig, LoraConfig, PPOConfig, RunConfig, SFTConfig, ValidationConfig, read_config
from tltrain.data import Data
from tltrain.encode import Encoder
from tltrain.engine.tree import TokenSequence
from tltrain.errors import ConfigError
from tltrain.files import read_json, read_json_lines
from tltrain.planning.costs import Machine, lora_parameters
from tltrain.planning.model_size import model_size, size_of
from tltrain.planning.problems import default_data_warning, nothing_to_evaluate_warning
from tltrain.planning.rates import GPUS, Inference, Rates, Training, computed_rates, gpu_named
from tltrain.planning.remedies import memory_problems
from tltrain.planning.replies import fitting_limit, gold_lengths, truncation_warnings, with_reply_limit
from tltrain.planning.work import tree_work
from tltrain.planning.workload import arm_work, eval_work, ppo_work
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.trajectory import Message, Trajectory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/`, `data/` and `small.yaml`."""
    folder = tmp_path_factory.mktemp("planning")
    write_run(folder)
    return folder


def run_config(**changes: Any) -> RunConfig:
    return RunConfig(**{"dtype": "float32", "device": "cpu", **changes})


# Limits on replies


@pytest.mark.parametrize(
    ("lengths", "limit"),
    [
        ([], 512),
        ([3], 64),  # never less than 64
        ([100] * 10, 128),  # 125 with headroom, rounded up
        ([100] * 199 + [1000], 128),  # the longest half per cent may be truncated
        ([100] * 198 + [1000] * 2, 1280),  # 1250, rounded up
    ],
)
def test_the_limit_follows_the_golds(lengths: list[int], limit: int) -> None:
    assert fitting_limit(lengths) == limit


def test_golds_are_measured_as_they_are_encoded() -> None:
    trajectories = micro_trajectories()
    encoder = Encoder(TOKENIZER)
    expected = [
        len(step.reply_ids)
        for trajectory in trajectories
        for step in encoder.steps(trajectory)
        if step.message in encoder.unfailed_replies(trajectory)
    ]
    assert gold_lengths(trajectories, TOKENIZER) == expected
    assert len(expected) == 10, "the failed replies are not golds"


def test_the_default_limit_is_stored_and_read_again(tmp_path: Path) -> None:
    data = Data("micro", micro_trajectories(), {"held": micro_trajectories()})
    config = run_config()
    assert config.eval is not None and config.eval.max_new_tokens is None
    resolved = with_reply_limit(config, tmp_path, data, TOKENIZER)
    assert resolved.eval is not None
    assert resolved.eval.max_new_tokens == fitting_limit(gold_lengths(micro_trajectories(), TOKENIZER))
    stored = config.model_copy(update={"eval": config.eval.model_copy(update={"max_new_tokens": 77})})
    (tmp_path / "config.yaml").write_text(stored.to_yaml())
    again = with_reply_limit(config, tmp_path, data, TOKENIZER)
    assert again.eval is not None and again.eval.max_new_tokens == 77
    assert with_reply_limit(config, None, data, TOKENIZER) == resolved, "a run that starts anew"


def test_golds_longer_than_a_limit_are_reported() -> None:
    data = Data("micro", micro_trajectories(), {"held": micro_trajectories()})
    lengths = gold_lengths(data.train, TOKENIZER)
    limit = sorted(lengths)[-3]
    longer = sum(length > limit for length in lengths)
    assert 0 < longer < len(lengths)
    config = run_config(ppo=PPOConfig(max_new_tokens=512), eval={"max_new_tokens": limit})
    (said,) = truncation_warnings(config, data, TOKENIZER)
    assert said.startswith(
        f"{longer} of {len(lengths)} golds {'is' if longer == 1 else 'are'} longer than the limit of "
    )
    assert f"set eval.max_new_tokens to {fitting_limit(lengths)}" in said
    seeds = [{"seed": seed, "data": {"seed": 3}, "eval": {"max_new_tokens": 1, "trajectories": 2}} for seed in range(4)]
    of_two = [truncation_warnings(run_config(ppo=None, **one), data, TOKENIZER) for one in seeds]
    assert all(one == of_two[0] for one in of_two), "of the trajectories that are evaluated, whatever the run's seed"
    both = run_config(ppo=PPOConfig(max_new_tokens=1), eval={"max_new_tokens": 1})
    assert [line.split(" golds ")[0] for line in truncation_warnings(both, data, TOKENIZER)] == ["10 of 10"] * 2


# Problems


def test_toolworld_by_default_is_said() -> None:
    said = default_data_warning(run_config())
    assert said is not None and "trained on toolworld" in said
    assert default_data_warning(run_config(data={"train": "toolworld"})) is None
    assert default_data_warning(run_config(sft=None, ppo=None)) is None


def test_nothing_to_evaluate_is_said() -> None:
    config, two = run_config(data={"train": "logs.jsonl"}), micro_trajectories(2)
    said = nothing_to_evaluate_warning(config, Data("micro", two, {}))
    assert said is not None and "data.holdout 0.1 of 2 distinct openings is none" in said
    assert nothing_to_evaluate_warning(config, Data("micro", two, {"held": two})) is None
    assert nothing_to_evaluate_warning(run_config(eval=None), Data("micro", two, {})) is None


def test_two_trajectories_train_and_say_that_nothing_is_evaluated(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = tmp_path / "two.jsonl"
    logs.write_text("".join((place / "data/train.jsonl").read_text().splitlines(keepends=True)[:2]))
    values = yaml.safe_load((place / "small.yaml").read_text()) | {"data": {"train": str(logs)}, "ppo": None}
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(values))
    code, out, err = call("sft", config, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)) == (0, []), err
    assert "nothing will be evaluated" in caplog.text


# Work


@pytest.mark.parametrize("arm", ["sft", "mae+pkt"])
def test_the_planned_work_is_that_of_training(arm: str, tmp_path: Path) -> None:
    data = micro_trajectories(12)
    trained = trainer(tmp_path, data, arm=arm, max_tree_tokens=300)
    trained.train()
    lines = read_json_lines(tmp_path / "metrics.jsonl")
    config = run_config(seed=5, max_tree_tokens=300, sft=SFTConfig(arms=["sft"], batch_size=2, group_size=2), ppo=None)
    mae = arm != "sft"
    work = arm_work(data, Encoder(TOKENIZER, mae=mae, pkt=mae), config)
    assert work.updates == len(lines)
    assert work.work.tokens == sum(line["tokens"] for line in lines)
    assert work.work.separate_tokens == sum(line["separate_tokens"] for line in lines)
    assert work.counts.to_json() == read_json(tmp_path / "encoding.json")


def test_epochs_a_subset_and_held_out_trajectories_count() -> None:
    data, encoder = micro_trajectories(12), Encoder(TOKENIZER)

    def updates(**settings: Any) -> tuple[int, int]:
        sft = SFTConfig(arms=["sft"], batch_size=2, group_size=2, **settings)
        work = arm_work(data, encoder, run_config(sft=sft, ppo=None))
        return work.updates, work.evaluations

    assert updates() == (6, 0)
    assert updates(epochs=3) == (18, 0)
    assert updates(trajectories=3) == (2, 0)
    assert updates(held_out=HeldOutConfig(share=0.2, every=2)) == (5, 3)
    with pytest.raises(ConfigError, match=r"sft.held_out.share 0.01: holds out 0 of 12 trajectories"):
        updates(held_out=HeldOutConfig(share=0.01))


def test_a_part_of_the_data_stands_for_all() -> None:
    data = micro_trajectories(4) * 10
    config = run_config(sft=SFTConfig(arms=["sft"], batch_size=2, group_size=2), ppo=None)
    whole, part = (arm_work(data, Encoder(TOKENIZER), config, seconds) for seconds in (None, 0.0))
    assert (part.updates, part.trajectories) == (whole.updates, whole.trajectories)
    assert part.work.tokens == pytest.approx(whole.work.tokens, rel=0.8)
    assert part.work.tokens > 0


def test_the_work_of_a_tree() -> None:
    """Two sequences share 3 of their 5 tokens; the second last token of each predicts."""
    sequences = [TokenSequence([1, 2, 3, 4, 5], 4, [1.0]), TokenSequence([1, 2, 3, 6, 7], 4, [1.0])]
    work = tree_work(sequences, 100)
    assert (work.tokens, work.separate_tokens, work.predicted) == (7, 10, 2)
    assert work.context == 1 + 2 + 3 + 2 * (4 + 5)
    assert work.largest_pass == 7
    assert tree_work(sequences, 5).largest_pass == 5, "the prefix and one branch"


def test_replies_and_updates_of_ppo() -> None:
    ppo = PPOConfig(rollouts=3, prompts=4, group_size=2, samples=2, epochs=2, minibatches=2, critic_warmup=1)
    config = run_config(ppo=ppo, sft=SFTConfig(arms=["mae"]))
    work = ppo_work(micro_trajectories(8), Encoder(TOKENIZER), config)
    assert (work.rollouts, work.replies, work.updates) == (3, 24, 12)
    assert work.policy_share == pytest.approx(2 / 3)
    assert len(work.decoding) == 3 and {one.replies for one in work.decoding} == {8}
    assert work.update.tokens >= 2 * work.measured.tokens, "two epochs; minibatches compute prefixes again"


def test_prompts_of_ppo_are_scaled_from_a_part_of_the_data() -> None:
    """Of 40 trajectories with a prompt each a single one is encoded: 3 epochs of 40 prompts are 15 rollouts of 8."""
    ppo = PPOConfig(prompt_epochs=3, prompts=8, group_size=2, samples=1)
    config = run_config(ppo=ppo, sft=SFTConfig(arms=["mae"]))
    whole, part = (
        ppo_work(micro_trajectories(160)[::4], Encoder(TOKENIZER), config, seconds) for seconds in (None, 0.0)
    )
    assert whole.rollouts == part.rollouts == len(whole.decoding) == 15
    assert (len(part.decoding), part.factor, whole.factor) == (1, 15, 1)
    assert part.measured.separate_tokens == pytest.approx(whole.measured.separate_tokens, rel=0.1)
    assert part.update.separate_tokens == part.measured.separate_tokens


def test_prompts_of_failed_replies_count_after_sft_without_mae() -> None:
    """Of 12 replies 2 failed."""
    for arm, rollouts in (("sft", 12), ("mae", 10)):
        ppo = PPOConfig(arm=arm, prompt_epochs=1, prompts=1, samples=2)
        config = run_config(ppo=ppo, sft=SFTConfig(arms=[arm]))
        assert ppo_work(micro_trajectories(), Encoder(TOKENIZER), config).rollouts == rollouts


def test_validations_of_ppo_are_counted() -> None:
    """One before the first of 4 rollouts, and one after every second."""
    ppo = PPOConfig(rollouts=4, prompts=2, samples=2, validation=ValidationConfig(share=0.3, every=2))
    config = run_config(ppo=ppo, sft=SFTConfig(arms=["mae"]))
    work = ppo_work(micro_trajectories(8)[::4], Encoder(TOKENIZER), config)
    assert [one.replies for one in work.validation] == [3], "one prompt: a greedy reply and two samples"
    assert work.validations == 3


def test_the_items_of_an_evaluation_follow_the_seed_of_the_data() -> None:
    """As those of the run do."""
    test = TrajectorySet.of("micro", "held", micro_trajectories(), "default")

    def items(seed: int, data_seed: int) -> int:
        config = run_config(seed=seed, data={"seed": data_seed}, eval={"max_new_tokens": 8, "trajectories": 3})
        return eval_work([test], [5], Encoder(TOKENIZER), config).items

    assert [items(seed, seed) for seed in range(8)] == [len(test.sample(3, seed).items) for seed in range(8)]
    assert len({items(0, seed) for seed in range(8)}) > 1
    assert len({items(seed, 0) for seed in range(8)}) == 1


# Time and memory


def test_sizes_of_a_model(place: Path) -> None:
    size = model_size(str(place / "model"))
    vocabulary = len(micro_tokenizer())
    assert size == size_of(micro_model(vocabulary))
    assert (size.layers, size.hidden, size.feed_forward, size.attention, size.key_value) == (2, 32, 64, 32, 16)
    assert size.output == vocabulary * 32, "embeddings and output matrix are tied"
    per_layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32
    assert size.parameters == size.output + 2 * per_layer + 32


def test_adapters_are_counted(place: Path) -> None:
    from tltrain.engine.adapters import add_adapters

    model = micro_model(len(TOKENIZER))
    size = size_of(model)
    add_adapters(model, LoraConfig(rank=4), ("sft",), 0)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert lora_parameters(size, 4) == trained


def test_gpus_by_name() -> None:
    assert gpu_named("h100")[0] == "H100 80GB"
    assert gpu_named("A100 40gb")[0] == "A100 40GB"
    for name in ("A100", "V100"):
        with pytest.raises(ConfigError, match=f"--gpu {name}: expected one of H200 141GB, "):
            gpu_named(name)


def test_a_larger_gpu_is_faster(place: Path) -> None:
    size = model_size(str(place / "model"))
    rates = {name: computed_rates(name, size, False) for name in GPUS}
    assert rates["H100 80GB"].training(False).flops > rates["A100 80GB"].training(False).flops
    assert rates["A100 80GB"].training(True).flops > rates["A100 80GB"].training(False).flops
    assert rates["L4 24GB"].capacity_mb == 24_000


def small_machine(place: Path, capacity_mb: float) -> Machine:
    """A machine on which a token of a training pass takes 1 MB."""
    inference = Inference(flops=1e9, token_bytes=1e3, step_seconds=0.01, reply_seconds=0.001)
    training = Training(flops=1e9, step_seconds=0.5, token_bytes=1e6)
    size = model_size(str(place / "model"))
    rates = Rates("a machine", training, training, inference, inference, 2.0, 1.0, 100.0, 10.0, capacity_mb, 4)
    return Machine(rates, size)


def test_time_and_memory_of_sft(place: Path) -> None:
    config = run_config(sft=SFTConfig(arms=["sft"], batch_size=2, group_size=2), ppo=None)
    work = arm_work(micro_trajectories(4), Encoder(TOKENIZER), config)
    machine = small_machine(place, 1e6)
    cost = machine.sft("sft", work, config)
    passes = work.work.flops(machine.size) / 1e9
    assert cost.seconds == pytest.approx(2.0 + 1.0 + 2 * 0.5 + passes + work.encode_seconds)
    weights = machine.size.parameters * (4 + 12) / 1e6
    logits = work.work.largest_predicted * machine.size.vocabulary * 12 / 1e6
    assert cost.peak_memory_mb == pytest.approx(100 + weights + logits + work.work.largest_pass)


def test_what_does_not_fit_names_the_setting_that_makes_it_fit(place: Path) -> None:
    sft = SFTConfig(arms=["sft"], batch_size=2, group_size=2)
    config = run_config(sft=sft, ppo=None, max_length=500)
    work = arm_work(micro_trajectories(4), Encoder(TOKENIZER), config)
    work = replace(work, work=replace(work.work, largest_pass=4_000))

    def problems(capacity: float) -> list[str]:
        machine = small_machine(place, capacity)
        return memory_problems(machine, config, {"sft": work}, None, [machine.sft("sft", work, config)])

    assert problems(5_000) == []
    (halved,) = problems(3_000)
    assert "sft sft needs about 4." in halved and halved.endswith("it fits with max_tree_tokens: 2048")
    recomputed = config.model_copy(update={"sft": sft.model_copy(update={"gradient_checkpointing": True})})
    machine = small_machine(place, 2_000)  # measured with gradient checkpointing already
    costs = [machine.sft("sft", work, recomputed)]
    assert memory_problems(machine, recomputed, {"sft": work}, None, costs)[0].endswith("max_tree_tokens: 1024")
    (none,) = problems(50)
    assert none.endswith("no setting makes this model fit; choose a smaller one")


# The commands


def test_plan_trains_nothing_and_prints_json(place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    code, out, err = call("plan", place / "small.yaml", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert [row["stage"] for row in plan["stages"]] == [
        *("eval base", "sft sft", "eval sft", "sft mae+pkt", "eval mae+pkt", "ppo", "eval mae+pkt+irm")
    ]
    assert all(row["seconds"] > 0 and row["peak_memory_mb"] > 0 for row in plan["stages"])
    assert plan["sft"]["sft"]["masked"] == 0 < plan["sft"]["mae+pkt"]["masked"]
    assert plan["sft"]["sft"]["key"] == 0 < plan["sft"]["mae+pkt"]["key"]
    assert plan["ppo"] == {"rollouts": 2, "replies": 8, "updates": 2}
    assert "golds are longer than the limit of 8 tokens" in plan["problems"][0]
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before


def test_a_plan_reads_no_file_of_the_current_folder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("defaults: of another program")
    monkeypatch.chdir(tmp_path)
    asked = ("--set", "sft=null", "--set", "ppo=null", "--set", "eval.max_new_tokens=null", "--gpu", "A10G", "--json")
    code, _, err = call("plan", place / "small.yaml", *asked)
    assert code == 0, err


def test_a_configuration_that_does_nothing_has_no_plan(place: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((place / "small.yaml").read_text()) | {"sft": None, "ppo": None, "eval": None}
    (tmp_path / "idle.yaml").write_text(yaml.safe_dump(values))
    said = mistake("plan", tmp_path / "idle.yaml")
    assert said == "nothing to plan: the configuration neither trains nor evaluates on test splits of its own"


def test_public_test_sets_are_evaluated_without_a_plan(place: Path, tmp_path: Path) -> None:
    write_bfcl(tmp_path, known()[:2])
    only = {"max_new_tokens": 8, "own_splits": False, "bench": ["bfcl/exec"], "data": str(tmp_path)}
    values = yaml.safe_load((place / "small.yaml").read_text()) | {"sft": None, "ppo": None, "eval": only}
    path = tmp_path / "public.yaml"
    path.write_text(yaml.safe_dump(values))
    assert "the time on public test sets is not estimated" in mistake("plan", path)
    code, _, err = call("run", path, "--out", tmp_path / "run")
    assert code == 0, err
    assert {row["bench"] for row in read_json(tmp_path / "run" / "scores.json")} == {"bfcl"}


def test_plan_for_a_named_gpu(place: Path) -> None:
    code, out, err = call("plan", place / "small.yaml", "--gpu", "H100 80GB")
    assert code == 0, err
    assert "distinct tokens (computed)" in out and "peak memory" in out
    *_, time, memory, problems = out.splitlines()
    assert time.startswith("time: about ") and "on H100 80GB (from its data sheet)" in time
    assert memory.startswith("memory: about ") and memory.endswith("of 80.0 GB")
    assert problems.startswith("problems: ")
    assert mistake("plan", place / "small.yaml", "--gpu", "V100").startswith("--gpu V100: expected one of ")


def text_logs(folder: Path) -> Path:
    """Six trajectories whose replies call no tool."""
    path = folder / "talk.jsonl"
    users = [Message("user", f"Where is Oslo, number {number}?") for number in range(6)]
    talks = [Trajectory((user, Message("assistant", "Here is the answer.")), ORDER_TOOLS, "t") for user in users]
    path.write_text("".join(json.dumps(talk.to_json()) + "\n" for talk in talks))
    return path


def test_run_takes_logs_and_prints_the_outlook_once(place: Path, tmp_path: Path) -> None:
    logs, folder = text_logs(tmp_path), tmp_path / "run"
    arguments = ("run", logs, "--model", place / "model", "--out", folder)
    code, _, err = call(*arguments)
    assert code == 0, err
    lines = err.splitlines()
    assert lines[0] == f"{logs}: data, not a configuration; the settings are those of `tltrain init {logs}`"
    starts = [line.split(":")[0] for line in lines]
    first = starts.index("time")
    assert starts[first : first + 3] == ["time", "memory", "problems"]
    config = read_config(folder / "config.yaml")
    assert (config.data.train, config.ppo) == (str(logs), None)
    assert config.sft is not None and config.sft.arms == ["sft"]
    code, _, err = call(*arguments)
    assert code == 0, err
    assert "time: about" not in err, "nothing is left to do, so nothing is measured"


def test_the_model_of_a_configuration_cannot_be_overridden(place: Path) -> None:
    assert mistake("run", place / "small.yaml", "--model", "x").startswith("--model: ")
