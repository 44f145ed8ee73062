"""The configuration: documented, round trip to YAML, contradictions refused with the field's name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tltrain.config import (
    DataConfig,
    EvalConfig,
    EvaluationFile,
    HeldOutConfig,
    LoraConfig,
    OptimiserConfig,
    PPOConfig,
    RunConfig,
    SFTConfig,
    ValidationConfig,
    annotated_defaults,
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
    sizes = {"codellama-7b", "codellama-7b-lora", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b-instruct", "sealtools"}
    assert sizes <= {path.stem for path in RECIPES}


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
        ("model: [", ":1: not YAML: "),
        ("", ": expected fields like `model: smollm2-135m`, found an empty file"),
        ("- 1", ": expected fields like `model: smollm2-135m`, found a list"),
        ("modle: a", ":1: modle: there is no such field; did you mean `model`?"),
        ("zzz: a", ":1: zzz: there is no such field"),
        ("1: a", ":1: 1: expected the name of a field, found 1"),
        ("sft:\n  epohcs: 3", ":2: sft.epohcs: there is no such field; did you mean `sft.epochs`?"),
        ("sft: {batchsize: 3}", ":1: sft.batchsize: there is no such field; did you mean `sft.batch_size`?"),
        (
            "\nsft:\n  learning_rate: 1",
            ":3: sft.learning_rate: there is no such field; did you mean `sft.optimiser.learning_rate`?",
        ),
        (
            "ppo: {learning_rate: 1}",
            ":1: ppo.learning_rate: there is no such field; "
            "did you mean `ppo.policy.learning_rate` or `ppo.critic.learning_rate`?",
        ),
        ("sft: {batch_size: 0}", ":1: sft.batch_size: expected more than 0, found 0"),
        ("sft: {batch_size: 4, group_size: 5}", ":1: sft: group_size 5 is larger than batch_size 4"),
        ("sft: {arms: []}", ":1: sft.arms: expected at least 1 entry, found []"),
        ("sft: {arms: [sft, sft]}", ":1: sft: arms has duplicates"),
        (
            "sft:\n  arms:\n  - sft\n  - mea",
            ":4: sft.arms.1: unknown arm 'mea': expected one of sft, mae, pkt, mae+pkt",
        ),
        ("sft:\n  optimiser: {warmup: 0.1}", ":2: sft.optimiser.learning_rate: this field is required"),
        ("sft: {fsdp: true, lora: {base: 4bit}}", ":1: sft: fsdp cannot shard a base of lora.base 4bit"),
        ("sft: {lora: {base: 2bit}}", ":1: sft.lora.base: expected '4bit' or '8bit', found '2bit'"),
        ("sft: {report_to: [wandb, wandb]}", ":1: sft: report_to has duplicates"),
        ("sft: {report_to: [wandbb]}", "found 'wandbb'; did you mean `wandb`?"),
        ("sft: {held_out: {share: 0}}", ":1: sft.held_out.share: expected more than 0, found 0"),
        ("ppo: {lora: {base: 8bit}}", ":1: ppo: lora.base is for SFT: PPO trains over a model in the run's dtype"),
        ("ppo: {arm: pkt}", ": ppo.arm 'pkt' is not in sft.arms ['sft', 'mae']"),
        ("ppo: {prompts: 4, group_size: 5}", ":1: ppo: group_size 5 is larger than prompts 4"),
        (
            "ppo: {prompts: 2, samples: 2, minibatches: 5}",
            ":1: ppo: minibatches 5 are more than prompts * samples replies",
        ),
        ("ppo: {advantage: leave_one_out, samples: 1}", ":1: ppo: advantage leave_one_out needs at least 2 samples"),
        ("ppo: {advantage: leave_one_out, critic_warmup: 1}", ":1: ppo: critic_warmup has no meaning with advantage"),
        ("data: {holdout: 1}", ":1: data.holdout: expected less than 1, found 1"),
        ("data: {test: {a/b: c}}", ":1: data.test.a/b: expected only letters, digits, `_` and `-`, found 'a/b'"),
        ("data: {train: null}", ": data.train is null: then sft and ppo have to be null too"),
        ("data: 3", ":1: data: expected a section with fields, found 3"),
        ("data: {strict: maybe}", ":1: data.strict: expected true or false, found 'maybe'"),
        ("model: [a]", ":1: model: expected text, found ['a']"),
        ("dialect: xml", "unknown dialect 'xml'"),
        ("mode: papre", ":1: mode: expected 'default', 'paper' or 'release', found 'papre'; did you mean `paper`?"),
        ("seed: {a: 1}", ":1: seed: expected a whole number, found {'a': 1}"),
        ("seed: 1\nmodel: a\nseed: 2", ":3: seed: this key is already in line 1"),
        ("sft:\n  epochs: 1\n  epochs: 1", ":3: sft.epochs: this key is already in line 2"),
        ("model: " + "[" * 5000 + "]" * 5000, ": not YAML: "),
    ],
)
def test_mistakes_are_told_by_file_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:")
    assert said in message.removeprefix(str(path))
    assert "\n" not in message


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("modle: a\nsft:\n  epohcs: 3\n  batch_size: 0\nmode: papre\nppo: {clip: no}\n")
    with pytest.raises(ConfigError) as raised:
        read_config(path)
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in raised.value.mistakes] == [
        ["1", "modle"], ["3", "sft.epohcs"], ["4", "sft.batch_size"], ["5", "mode"], ["6", "ppo.clip"]
    ]  # fmt: skip


def test_aliases_are_read_and_do_not_explode(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("ppo:\n  policy: &o {learning_rate: 1e-4}\n  critic: *o\n")
    config = read_config(path)
    assert config.ppo and config.ppo.critic == config.ppo.policy
    layers = "".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    path.write_text(f"x0: &a0 [1]\n{layers}")
    with pytest.raises(ConfigError, match="x0: there is no such field"):
        read_config(path)


# Overrides


def test_set_replaces_fields_with_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\nsft: {epochs: 3, batch_size: 4}\n")
    options = ["sft.epochs=2", "sft.arms=[mae]", "ppo=null", "model=a=b", "sft.optimiser.warmup=0.5"]
    config = read_config(path, overrides=options)
    assert config.sft and config.ppo is None
    assert (config.sft.epochs, config.sft.batch_size, config.sft.arms, config.model) == (2, 4, ["mae"], "a=b")
    assert config.sft.optimiser == OptimiserConfig(learning_rate=3e-4, warmup=0.5), "the rest is at its default"
    assert config.seed == 1
    path.write_text("sft: null\nppo: null\n")
    assert read_config(path, overrides=["sft={}", "sft.epochs=2"]).sft == SFTConfig(epochs=2)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("sft.epochs", "--set sft.epochs: expected KEY=VALUE, such as sft.epochs=2"),
        ("=3", "--set =3: expected KEY=VALUE, such as sft.epochs=2"),
        ("sft.epochs=[", "--set sft.epochs=[: the value is not YAML"),
        ("sft.epochs=two", "--set sft.epochs=two: sft.epochs: expected a whole number, found 'two'"),
        ("sft.epohcs=2", "--set sft.epohcs=2: sft.epohcs: there is no such field; did you mean `sft.epochs`?"),
        ("seed.a=2", "--set seed.a=2: seed is a single value, not a section"),
        ("ppo.beta=1", "--set ppo.beta=1: ppo is null in the configuration; `--set ppo={}` before it enables it"),
    ],
)
def test_mistakes_in_overrides_name_the_option(tmp_path: Path, option: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\nppo: null\n")
    with pytest.raises(ConfigError) as raised:
        read_config(path, overrides=[option])
    assert str(raised.value) == said


# Annotated defaults


@pytest.mark.parametrize("kind", [RunConfig, EvaluationFile])
def test_annotated_defaults_are_the_defaults(tmp_path: Path, kind: type[RunConfig] | type[EvaluationFile]) -> None:
    text = annotated_defaults(kind)
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_config(path, kind) == kind()
    assert max(map(len, text.splitlines())) <= 120
    words = " ".join(line.strip("# ") for line in text.splitlines() if line.strip().startswith("#"))
    for field in kind.model_fields.values():
        assert " ".join((field.description or "").split()) in words


def test_a_section_that_is_off_can_be_uncommented() -> None:
    lines = annotated_defaults().splitlines()
    start = lines.index("  # held_out:")
    block = [line.replace("# ", "", 1) for line in lines[start : start + 5] if "share" in line or "held_out" in line]
    assert yaml.safe_load("\n".join(block)) == {"held_out": {"share": 0.05}}


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="a folder, expected a YAML file"):
        read_config(tmp_path)


def test_the_demo_grows_with_its_size() -> None:
    small, large = demo_config(0.5), demo_config(2)
    assert small.sft and large.sft and small.eval and large.eval
    assert small.sft.trajectories and large.sft.trajectories
    assert large.sft.trajectories == 4 * small.sft.trajectories
    assert large.eval.trajectories == 4 * (small.eval.trajectories or 0) == 120
    assert large.data.size > small.data.size
