"""The configuration: documented, round trip to YAML, contradictions refused with the field's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tltrain.config import (
    DataConfig,
    EvalConfig,
    HeldOutConfig,
    LoraConfig,
    OptimiserConfig,
    PPOConfig,
    RunConfig,
    SFTConfig,
    ValidationConfig,
    parse_config,
    read_config,
)
from tltrain.demo import demo_config
from tltrain.errors import ConfigError

SECTIONS = (
    RunConfig,
    DataConfig,
    SFTConfig,
    HeldOutConfig,
    PPOConfig,
    ValidationConfig,
    EvalConfig,
    LoraConfig,
    OptimiserConfig,
)
FIELDS = [(section, name) for section in SECTIONS for name in section.model_fields]
RECIPES = sorted(
    path
    for path in (Path(__file__).parent.parent / "recipes").glob("**/*.y*ml")
    if path.name != "experiments.yaml"  # a list of commands
)


@pytest.mark.parametrize(("section", "name"), FIELDS)
def test_every_field_is_documented_in_a_line(section: type[BaseModel], name: str) -> None:
    said = section.model_fields[name].description
    assert said and "\n" not in said and said.endswith("."), name


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        demo_config(),
        demo_config(0.01),
        demo_config(3, seed=5),
        RunConfig(sft=SFTConfig(lora=LoraConfig(), arms=["mae"]), ppo=None, eval=None),
        RunConfig(data=DataConfig(train=None, test={"Zürich": "a/ä.jsonl"}), sft=None, ppo=None),
        RunConfig(sft=SFTConfig(batch_size=2), ppo=PPOConfig(prompts=3)),
    ],
)
def test_round_trip_through_yaml(tmp_path: Path, config: RunConfig) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path) == config
    assert yaml.safe_load(config.to_yaml()).keys() == RunConfig.model_fields.keys()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.name))
def test_every_recipe_parses(path: Path) -> None:
    config = read_config(path)
    assert config.model
    assert parse_config(yaml.safe_load(config.to_yaml()), "again") == config


def test_there_is_a_recipe_for_each_kind_of_model() -> None:
    sizes = {"codellama-7b", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b-instruct", "sealtools"}
    assert sizes <= {path.stem for path in RECIPES}


def test_the_released_settings() -> None:
    config = read_config(next(path for path in RECIPES if path.stem == "codellama-7b"))
    assert config.sft and config.ppo
    assert (config.dialect, config.mode, config.max_length, config.dtype) == ("python", "paper", 8192, "bfloat16")
    assert (config.sft.epochs, config.sft.batch_size, config.sft.w_max) == (1, 4, 9)
    assert config.sft.optimiser == OptimiserConfig(learning_rate=1e-6, warmup=0.01, weight_decay=0.01, beta2=0.95)
    assert (config.ppo.policy.learning_rate, config.ppo.critic.learning_rate) == (2e-7, 1e-7)
    assert (config.ppo.beta, config.ppo.temperature, config.ppo.max_new_tokens) == (0.4, 0.7, 512)
    assert config.ppo.policy.warmup * config.ppo.rollouts == 100
    assert config.ppo.advantage == "gae"


def test_numbers_as_people_write_them() -> None:
    """YAML reads 1e-4, without a dot, as text."""
    config = parse_config(yaml.safe_load("sft: {optimiser: {learning_rate: 1e-4}}"), "here")
    assert config.sft is not None
    assert config.sft.optimiser.learning_rate == 1e-4


def test_a_smaller_batch_needs_no_other_group_size() -> None:
    assert SFTConfig(batch_size=4).group_size == 4
    assert SFTConfig(batch_size=64).group_size == 8
    assert PPOConfig(prompts=4).group_size == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [", "not YAML: "),
        ("", "expected fields like `model: smollm2-135m`, found an empty file"),
        ("- 1", "expected fields like `model: smollm2-135m`, found list"),
        ("modell: a", "modell: there is no such field"),
        ("1: a", "1: "),
        ("sft: {batchsize: 3}", "sft.batchsize: there is no such field"),
        ("sft: {batch_size: 0}", "sft.batch_size: Input should be greater than 0, found 0"),
        ("sft: {batch_size: 4, group_size: 5}", "sft: group_size 5 is larger than batch_size 4"),
        ("sft: {arms: []}", "sft.arms: "),
        ("sft: {arms: [sft, sft]}", "sft: arms has duplicates"),
        ("sft: {arms: [mea]}", "sft.arms.0: unknown arm 'mea': expected one of sft, mae, pkt, mae+pkt"),
        ("sft: {optimiser: {warmup: 0.1}}", "sft.optimiser.learning_rate: Field required"),
        ("sft: {fsdp: true, lora: {base: 4bit}}", "sft: fsdp cannot shard a base of lora.base 4bit"),
        ("sft: {lora: {base: 2bit}}", "sft.lora.base: Input should be '4bit' or '8bit', found '2bit'"),
        ("sft: {report_to: [wandb, wandb]}", "sft: report_to has duplicates"),
        ("sft: {report_to: [neptune]}", "sft.report_to.0: "),
        ("sft: {held_out: {share: 0}}", "sft.held_out.share: Input should be greater than 0, found 0"),
        ("ppo: {lora: {base: 8bit}}", "ppo: lora.base is for SFT: PPO trains over a model in the run's dtype"),
        ("ppo: {arm: pkt}", "configuration: ppo.arm 'pkt' is not in sft.arms ['sft', 'mae+pkt']"),
        ("ppo: {prompts: 4, group_size: 5}", "ppo: group_size 5 is larger than prompts 4"),
        ("ppo: {prompts: 2, samples: 2, minibatches: 5}", "ppo: minibatches 5 are more than prompts * samples replies"),
        ("ppo: {advantage: leave_one_out, samples: 1}", "ppo: advantage leave_one_out needs at least 2 samples"),
        ("ppo: {advantage: leave_one_out, critic_warmup: 1}", "ppo: critic_warmup has no meaning with advantage"),
        ("data: {holdout: 1}", "data.holdout: Input should be less than 1, found 1"),
        ("data: {test: {a/b: c}}", "data.test.a/b"),
        ("data: {train: null}", "configuration: data.train is null: then sft and ppo have to be null too"),
        ("dialect: xml", "xml"),
        ("seed: {a: 1}", "seed: Input should be a valid integer, found {'a': 1}"),
        ("model: " + "[" * 5000 + "]" * 5000, "not YAML: "),
    ],
)
def test_mistakes_are_told_by_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="a folder, expected a YAML file"):
        read_config(tmp_path)


def test_the_demo_grows_with_its_size() -> None:
    small, large = demo_config(0.5), demo_config(2)
    assert small.sft and large.sft and small.eval and large.eval and small.ppo and large.ppo
    assert small.sft.trajectories and large.sft.trajectories
    assert large.sft.trajectories == 4 * small.sft.trajectories
    assert large.ppo.rollouts == 3 * small.ppo.rollouts == 6  # at least two, the first being the critic's
    assert large.data.size > small.data.size
