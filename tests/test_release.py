"""`mode: release`: its preset, its loss, its samples, its prompt, and the recipes that follow it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.commands import call, mistake
from support.micro import ORDER_TOOLS, micro_model, micro_trajectories
from support.small_run import write_run
from support.training import ARMS, TOKENIZER, lines, naive_loss, trainer
from transformers import LlamaConfig, LlamaForCausalLM

from tltrain import dialects
from tltrain.config import OptimiserConfig, PPOConfig, RunConfig, SFTConfig, parse_config, read_config
from tltrain.config.release import RELEASE
from tltrain.data import load_data
from tltrain.encode import Encoder
from tltrain.encode.key_tokens import argument_ends, token_weights
from tltrain.engine.optimiser import rate_share
from tltrain.errors import ConfigError, DataError
from tltrain.files import read_json_lines
from tltrain.model import load_tokenizer
from tltrain.planning.costs import lora_parameters
from tltrain.planning.fit import check_fits
from tltrain.planning.model_size import ModelSize, size_of
from tltrain.planning.workload import arm_work
from tltrain.ppo.prompts import number_of_rollouts
from tltrain.sft import SFTTrainer, step_sequence
from tltrain.trajectory import Call, Message, Trajectory

RECIPES = {path.stem: path for path in (Path(__file__).parent.parent / "recipes").glob("codellama-7b*.yaml")}
TASKS = 1_217
REPLIES = 10
"""More replies than a released trajectory has on average, for upper limits."""


# The preset


def flat(values: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {path: values}
    inner = [flat(value, f"{path}.{name}".lstrip(".")) for name, value in values.items()]
    return {name: value for part in inner for name, value in part.items()}


def nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def test_the_release_is_a_preset_of_single_settings() -> None:
    released, paper = (
        flat(RunConfig(mode="release").model_dump()),
        flat(RunConfig(mode="paper", ppo=PPOConfig()).model_dump()),
    )
    wanted = flat(dict(RELEASE))
    assert {name: released[name] for name in wanted} == wanted
    same = {"ppo.beta", "ppo.advantage"}  # in which our defaults are the release's
    rates = {"sft.optimiser.learning_rate"}
    assert {name for name in paper if paper[name] != released[name]} == {"mode", *wanted, *rates} - same
    assert RunConfig(mode="release").failure_mode == "paper"


@pytest.mark.parametrize("name", flat(dict(RELEASE)))
def test_a_setting_that_contradicts_the_release_is_refused(name: str) -> None:
    other = {"dialect": "hermes", "template": "auto", "sft.answered_only": False, "sft.argument_ends": True}
    others = {"sft.batch_unit": "trajectory", "sft.normaliser": "update", "sft.optimiser.schedule": "cosine"}
    others |= {"ppo.advantage": "leave_one_out", "ppo.critic_start": "sft"}
    value = {**other, **others}.get(name, 3)
    with pytest.raises(ConfigError, match=rf"mode release needs {name} .*, found {value}: remove the field"):
        parse_config({"mode": "release", **nested(name, value)}, "c.yaml")


def test_what_the_release_does_not_say_is_the_user_s() -> None:
    config = RunConfig(mode="release", sft=SFTConfig(epochs=3, w_max=2), ppo=None)
    assert config.sft is not None and config.ppo is None
    assert (config.sft.epochs, config.sft.w_max, config.sft.batch_unit, config.sft.batch_size) == (3, 2, "step", 4)
    assert parse_config(yaml.safe_load(config.to_yaml()), "again") == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{template: release}", "template release writes calls in the dialect python, found dialect hermes"),
        ("{sft: {optimiser: {learning_rate: 1, warmup: 0.1, warmup_updates: 3}}}", "warmup and warmup_updates both"),
        ("{ppo: {rollouts: 3, prompt_epochs: 1}}", "expected either rollouts or prompt_epochs"),
        ("{ppo: {rollouts: null}}", "expected either rollouts or prompt_epochs"),
        ("{ppo: {prompt_epochs: 1, text_share: 0.5}}", "prompt_epochs has no meaning with text_share"),
        ("{ppo: {temperature: 0}}", "temperature 0 is greedy: all 4 samples of a prompt would be the same reply"),
        ("{ppo: {advantage: leave_one_out, critic_start: random}}", "critic_start has no meaning with advantage"),
    ],
)
def test_contradictions_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(yaml.safe_load(text), "c.yaml")
    assert said in str(raised.value)


# The loss


@pytest.mark.parametrize("unit", ["trajectory", "step"])
@pytest.mark.parametrize("max_tree_tokens", [4096, 1])
def test_each_reply_counts_the_same(tmp_path: Path, unit: str, max_tree_tokens: int) -> None:
    """Against separate sequences through the model as it is: the mean of each reply's own weighted mean."""
    model, encoder = micro_model(len(TOKENIZER)), Encoder(TOKENIZER)
    steps = [step for one in micro_trajectories() for step in encoder.steps(one) if not step.masked]
    assert len({sum(step.weights) for step in steps}) > 1
    loss = torch.stack([naive_loss(model, [step]) for step in steps]).mean()
    loss.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}

    size = {"batch_size": 8 if unit == "trajectory" else len(steps), "batch_unit": unit}
    trained = trainer(tmp_path, normaliser="sample", max_tree_tokens=max_tree_tokens, **size)
    found: dict[str, torch.Tensor] = {}
    clip = trained.optimiser.clip

    def recording(normaliser: float, update: str) -> float:
        for name, parameter in trained.model.named_parameters():
            found[name] = parameter.grad / normaliser
        return clip(normaliser, update)

    trained.optimiser.clip = recording  # type: ignore[method-assign]
    trained.train()
    (line,) = lines(tmp_path)
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["weight"] == pytest.approx(len(steps))
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


def test_the_tokens_that_end_an_argument() -> None:
    two = ["▁get", "(", "a", "=", '"', "x", '",', "▁b", "=", "'y", "',", "▁c", "=", '"', ".", '")', "</s>"]
    assert argument_ends(two) == {10, 15}  # `",` is not among the release's tokens
    assert argument_ends(["Ġget", "()", "</s>"]) == {1}
    assert argument_ends(["Ġ')", "</s>"]) == {0}
    assert argument_ends(["no", "call", "</s>"]) == {1}  # the release then takes the last token before the stop token
    assert argument_ends(["</s>"]) == argument_ends([]) == set()


def test_argument_ends_have_weight_1_and_do_not_count() -> None:
    reasons = [""] * 8
    assert token_weights(reasons, {0, 2}, 9.0) == [3, 1, 3, 1, 1, 1, 1, 1]
    assert token_weights(reasons, {0, 2}, 9.0, {5, 6}) == [2, 1, 2, 1, 1, 1, 1, 1]
    assert token_weights(reasons, {0, 2}, 9.0, {0, 6}) == [2.5, 1, 2.5, 1, 1, 1, 1, 1]  # a key token stays one
    assert token_weights(["", "failed", "failed", ""], {0}, 9.0, {2, 3}) == [1, 0, 0, 1]


def test_the_encoder_does_not_count_them_either() -> None:
    call = micro_trajectories()[0]
    (plain,), (released,) = Encoder(TOKENIZER).steps(call), Encoder(TOKENIZER, argument_ends=False).steps(call)
    ends = argument_ends(TOKENIZER.convert_ids_to_tokens(plain.reply_ids))
    keys = [position for position, note in enumerate(plain.notes) if note == "key token"]
    others = len(plain.reply_ids) - len(keys)
    assert ends and max(plain.weights) == min(others / len(keys), 9)
    assert max(released.weights) == min((others - len(ends)) / len(keys), 9)


# The samples


ANSWERED = Trajectory(
    (
        Message("user", "What is order A-1?"),
        Message("assistant", None, (Call("get_order", {"order_id": "A-1"}),)),
        Message("tool", "{}"),
        Message("assistant", "Here is the answer."),
        Message("user", "today?"),
        Message("assistant", "Here."),
    ),
    ORDER_TOOLS,
)


@pytest.mark.parametrize("arm", ARMS)
def test_a_reply_before_another_message_than_a_tool_s_is_no_sample(arm: str) -> None:
    mae, pkt = ARMS[arm]
    released = Encoder(TOKENIZER, mae=mae, pkt=pkt, answered_only=True)
    assert [step.masked for step in released.steps(ANSWERED)] == [False, True, False]
    assert set(released.steps(ANSWERED)[1].notes) == {"followed by another message than a tool's"}
    assert released.encode(ANSWERED).counts.masked == 1
    assert [prompt.message for prompt in released.prompts(ANSWERED)] == [1, 5]
    assert not any(step.masked for step in Encoder(TOKENIZER, mae=mae, pkt=pkt).steps(ANSWERED))


def test_updates_of_replies(tmp_path: Path) -> None:
    trajectories, encoder = micro_trajectories(), Encoder(TOKENIZER)
    steps = [step for one in trajectories for step in encoder.steps(one) if not step.masked]
    wanted = sorted(step_sequence(step).ids for step in steps)
    trained = trainer(tmp_path, batch_unit="step", batch_size=4, group_size=1, epochs=2)
    trained.train()
    epoch = -(-len(steps) // 4)
    assert len(lines(tmp_path)) == 2 * epoch
    for start in (0, epoch):
        batches = trained.steps[start : start + epoch]
        assert [len(batch) for batch in batches] == [4] * (epoch - 1) + [len(steps) - 4 * (epoch - 1)]
        assert sorted(sequence.ids for batch in batches for sequence in batch) == wanted
    assert trained.order[:epoch] != trained.order[epoch:]


def test_some_trajectories_in_updates_of_replies(tmp_path: Path) -> None:
    """Each trajectory has a user message of its own, and so do its replies' prompts."""
    config = SFTConfig(batch_unit="step", trajectories=3, batch_size=2)
    trained = SFTTrainer(
        micro_model(len(TOKENIZER)),
        TOKENIZER,
        trajectories=micro_trajectories(),
        encoder=Encoder(TOKENIZER),
        config=config,
        folder=tmp_path,
    )
    trained.train()
    text = [TOKENIZER.decode(sequence.ids) for batch in trained.steps for sequence in batch]
    assert len([number for number in range(8) if any(f"A-{number}?" in one for one in text)]) == 3


def test_nothing_to_learn_in_updates_of_replies(tmp_path: Path) -> None:
    failed = [replace(one, messages=one.messages[:3]) for one in micro_trajectories() if len(one.messages) == 4][:1]
    with pytest.raises(DataError, match=r"nothing to learn: of 1 reply 1 failed; an arm without MAE"):
        trainer(tmp_path, failed, batch_unit="step")


def test_a_plan_counts_the_updates_of_replies(tmp_path: Path) -> None:
    settings = {"batch_unit": "step", "batch_size": 4, "epochs": 2, "normaliser": "sample"}
    config = RunConfig(sft=SFTConfig(**settings), ppo=None)
    work = arm_work(micro_trajectories(), Encoder(TOKENIZER), config)
    assert work.updates == len(trainer(tmp_path, **settings).order)
    assert work.work.largest_pass > 0 and work.sample


# A whole run


def test_a_run_and_the_settings_that_it_is_resumed_with(tmp_path: Path) -> None:
    rate = {"learning_rate": 1e-2}
    sft = {"arms": ["sft", "mae+pkt"], "optimiser": rate, "w_max": 5}
    ppo = {
        "arm": "mae+pkt",
        "prompt_epochs": 1,
        "max_new_tokens": 6,
        "policy": rate,
        "critic": rate,
        "lora": {"rank": 4, "alpha": 8},
    }
    path = write_run(tmp_path, mode="release", max_length=2048, sft=sft, ppo=ppo)
    out = tmp_path / "run"
    code, _, err = call("run", path, "--out", out)
    assert code == 0, err
    saved = read_config(out / "config.yaml")
    assert saved.sft and (saved.template, saved.sft.normaliser, saved.sft.batch_unit) == ("release", "sample", "step")
    encoded = json.loads((out / "sft/mae+pkt/encoding.json").read_text(encoding="utf-8"))
    updates = read_json_lines(out / "sft/mae+pkt/metrics.jsonl")
    assert sum(line["weight"] for line in updates) == pytest.approx(encoded["replies"] - encoded["masked"])
    assert len(updates) == -(-(encoded["replies"] - encoded["masked"]) // 4)
    tokenizer = load_tokenizer(str(out / "ppo/model"), "python")
    assert tokenizer.chat_template == dialects.RELEASE_TEMPLATE
    changed = {"mode": "release", "max_length": 2048, "ppo": ppo, "sft": {**sft, "w_max": 4}}
    said = mistake("run", write_run(tmp_path, **changed), "--out", out)
    assert "sft.w_max was 5.0, is 4.0" in said
    said = mistake(
        "run", write_run(tmp_path, dialect="python", template="release", **{**changed, "mode": "paper"}), "--out", out
    )
    for field in ("mode", "sft.normaliser", "sft.batch_unit", "sft.answered_only", "ppo.critic_start"):
        assert f"{field} was " in said


# The learning rate


def test_schedules() -> None:
    constant = OptimiserConfig(learning_rate=1, warmup=0.25, schedule="constant")
    assert [rate_share(constant, step, 8) for step in range(8)] == pytest.approx([1 / 3, 2 / 3, *[1] * 6])
    counted = OptimiserConfig(learning_rate=1, warmup_updates=3)
    assert counted.warmup == 0
    assert [rate_share(counted, step, 5) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 0.5])
    assert rate_share(OptimiserConfig(learning_rate=1, warmup=0.0, schedule="constant"), 0, 1) == 1


def test_a_constant_rate_in_training(tmp_path: Path) -> None:
    optimiser = OptimiserConfig(learning_rate=1e-3, warmup=0.5, schedule="constant")
    trainer(tmp_path, optimiser=optimiser).train()
    assert [row["learning_rate"] for row in lines(tmp_path)] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])


# The recipes


@pytest.fixture(scope="module")
def size() -> ModelSize:
    """CodeLLaMA-7B's, from the values of its configuration."""
    config = LlamaConfig(vocab_size=32016, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32)
    with torch.device("meta"):
        return size_of(LlamaForCausalLM(config))


@pytest.mark.parametrize("name", ["codellama-7b", "codellama-7b-lora"])
def test_the_numbers_of_the_recipes(name: str) -> None:
    config = read_config(RECIPES[name])
    assert config.sft and config.ppo and config.eval
    assert (config.mode, config.dialect, config.template) == ("release", "python", "release")
    assert (config.max_length, config.dtype) == (8192, "bfloat16")
    sft, ppo = config.sft, config.ppo
    assert (sft.epochs, sft.batch_size, sft.batch_unit, sft.w_max) == (1, 4, "step", 9)
    rate = {"codellama-7b": 1e-6, "codellama-7b-lora": 1e-4}[name]
    assert sft.optimiser == OptimiserConfig(
        learning_rate=rate, warmup=0.01, weight_decay=0.01, beta1=0.9, beta2=0.95, schedule="constant"
    )
    assert (ppo.prompts, ppo.samples, ppo.prompt_epochs, ppo.epochs, ppo.minibatches) == (8, 1, 3, 1, 1)
    assert (ppo.temperature, ppo.beta, ppo.max_new_tokens, ppo.critic_start) == (0, 0.4, 512, "random")
    assert (ppo.gamma, ppo.lam, ppo.clip, ppo.value_clip, ppo.reward_clip) == (1, 0.95, 0.2, 0.2, 5)
    for optimiser in (ppo.policy, ppo.critic):
        assert (optimiser.warmup_updates, optimiser.schedule, optimiser.weight_decay) == (100, "cosine", 0)
        assert (optimiser.beta1, optimiser.beta2) == (0.9, 0.95)
    assert ppo.policy.learning_rate == 2 * ppo.critic.learning_rate
    assert config.eval.bench == ["rotbench", "toolalpaca", "bfcl", "tooleyes"]


@pytest.mark.parametrize("name", ["codellama-7b", "codellama-7b-lora"])
def test_all_released_trajectories_train(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    config = read_config(RECIPES[name])
    with pytest.raises(DataError, match=r"data.train tl-training: not fetched yet; run `tltrain fetch tl-training`"):
        load_data(config.data, config.seed)
    tools = json.dumps([{"function": {"name": "f", "description": "", "parameters": {"type": "object"}}}])
    turns = [("system", tools), ("user", "Hi"), ("assistant", "f\n{}"), ("function", "{}"), ("assistant", "Bye")]
    sample = [{"role": role, "content": content} for role, content in turns]
    path = tmp_path / "data/tl-training/raw_data.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([{"id": str(number), "conversations": sample} for number in range(TASKS)]))
    data = load_data(config.data, config.seed)
    assert (len(data.train), data.tests, data.problems) == (TASKS, {}, [])
    assert config.ppo is not None
    assert number_of_rollouts(config.ppo, TASKS) == 457  # 3 * 1,217 / 8 = 456.4


@pytest.mark.parametrize(("name", "processes"), [("codellama-7b", 4), ("codellama-7b-lora", 1)])
def test_memory_fits_the_gpus_that_the_recipes_name(name: str, processes: int, size: ModelSize) -> None:
    config = read_config(RECIPES[name])
    assert config.sft and config.ppo
    assert size.parameters == 6_738_546_688
    spare = 45e9  # for activations and logits, of 80 GB
    for stage in ("sft", "ppo"):
        check_fits(config, stage, size=size, item_bytes=2, capacity=80e9 - spare, ranks=processes)
    whole = config.model_copy(update={"ppo": config.ppo.model_copy(update={"lora": None})})
    with pytest.raises(ConfigError, match="ppo: each process needs 256 GB for weights alone"):
        check_fits(whole, "ppo", size=size, item_bytes=2, capacity=80e9, ranks=processes)
    if config.sft.fsdp:
        with pytest.raises(ConfigError, match="sft: each process needs 121 GB for weights alone"):
            check_fits(config, "sft", size=size, item_bytes=2, capacity=80e9, ranks=1)


@pytest.mark.parametrize(("name", "terabytes"), [("codellama-7b", 1.1), ("codellama-7b-lora", 0.1)])
def test_checkpoints_write_no_81_terabytes(name: str, terabytes: float, size: ModelSize) -> None:
    """A checkpoint has the fp32 weights and both moments: 12 bytes for each trained parameter."""
    config = read_config(RECIPES[name])
    assert config.sft and config.ppo and config.ppo.lora
    replies = TASKS * REPLIES
    adapters = lora_parameters(size, config.ppo.lora.rank)
    trained = size.parameters if config.sft.lora is None else lora_parameters(size, config.sft.lora.rank)
    updates, rollouts = replies // config.sft.batch_size, number_of_rollouts(config.ppo, replies)
    written = len(config.sft.arms) * (updates // config.sft.checkpoint_every) * 12 * trained
    written += (rollouts // config.ppo.checkpoint_every) * 12 * 2 * adapters
    assert 0 < written < terabytes * 1e12
    before = 1000 // PPOConfig.model_fields["checkpoint_every"].default * 12 * 2 * size.parameters
    assert before == pytest.approx(81e12, rel=0.01)  # PPO over all weights, a checkpoint every other rollout
