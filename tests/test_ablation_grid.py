"""Which runs an ablation plans, what they share, and which mistakes it reports before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tltrain.ablation.grid import GRID_ARMS, Run, Sweep, default_arms, jobs, parse_sweep, plan
from tltrain.arms import ARMS
from tltrain.config import DataConfig, PPOConfig, RunConfig
from tltrain.errors import ConfigError

CONFIG = RunConfig(seed=5, ppo=PPOConfig())


def labels(*sweeps: Sweep, arms: tuple[str, ...] = ("sft", "pkt+irm"), seeds: tuple[int, ...] = (0,)) -> list[str]:
    return [run.label for run in plan(CONFIG, seeds, arms, sweeps)]


def test_the_eight_arms_are_those_of_the_paper() -> None:
    parts = {(ARMS[arm].mae, ARMS[arm].pkt, ARMS[arm].irm) for arm in GRID_ARMS}
    assert len(parts) == len(GRID_ARMS) == 8
    assert default_arms(CONFIG) == list(GRID_ARMS)
    assert default_arms(RunConfig()) == ["sft", "mae", "pkt", "mae+pkt"]


def test_seeds_one_after_another_and_every_arm_after_the_one_it_starts_from() -> None:
    one = ["sft", "pkt", "pkt+irm"]
    assert labels(seeds=(0, 3)) == ["base", *(f"{arm}, seed {seed}" for seed in (0, 3) for arm in one)]


def test_all_seeds_share_the_data_but_not_the_training() -> None:
    runs = plan(CONFIG, (0, 1), ("mae+pkt+irm",), ())
    configs = [run.config(CONFIG) for run in runs if run.seed is not None]
    assert [config.seed for config in configs] == [0, 0, 1, 1]
    assert {config.data_seed for config in configs} == {5}
    assert all(config.sft and config.sft.arms == ["mae+pkt"] for config in configs)
    assert all(config.ppo and config.ppo.arm == "mae+pkt" for config in configs)
    own = RunConfig(data=DataConfig(seed=9), ppo=PPOConfig())
    assert Run("sft", 1).config(own).data_seed == 9


def test_a_run_with_ppo_shares_the_folder_and_the_configuration_of_its_sft_arm() -> None:
    run = Run("mae+irm", 2)
    assert run.parent == Run("mae", 2)
    assert run.path == Run("mae", 2).path == Path("plain/seed-2/mae")
    assert run.config(CONFIG) == Run("mae", 2).config(CONFIG)
    swept = Run("mae+irm", 2, (("ppo.beta", 0.1),))
    assert swept.parent == Run("mae", 2)
    assert swept.path == Path("ppo.beta=0.1/seed-2/mae")


def test_where_no_call_failed_an_arm_with_mae_is_in_the_group_of_the_arm_without() -> None:
    assert Run("mae+pkt+irm", 1).without_mae == Run("pkt+irm", 1)
    assert Run("pkt", 1).without_mae is None
    runs = plan(CONFIG, (0,), ("sft", "mae+irm", "mae+pkt"), ())
    grouped = [[run.arm for run in group] for group in jobs(runs, lambda run: True)]
    assert grouped == [["base"], ["sft", "mae", "mae+irm"], ["mae+pkt"]], "pkt itself is not planned"
    assert len(jobs(runs)) == 4


def test_values_that_do_not_affect_an_arm_add_no_run() -> None:
    """Key tokens have weights with PKT only, and PPO's settings do not affect SFT."""
    assert labels(Sweep("sft.w_max", (1, 3)), arms=("sft", "pkt", "sft+irm")) == [
        *("base", "sft, seed 0", "pkt, sft.w_max 1, seed 0", "sft+irm, seed 0"),
        "pkt, sft.w_max 3, seed 0",
    ]
    assert labels(Sweep("ppo.beta", (0.1, 0.2)), arms=("sft+irm",)) == [
        *("base", "sft, seed 0", "sft+irm, ppo.beta 0.1, seed 0", "sft+irm, ppo.beta 0.2, seed 0"),
    ]


def test_the_configuration_s_own_value_is_the_plain_run() -> None:
    assert labels(Sweep("sft.w_max", (9, 3)), arms=("pkt",)) == [
        *("base", "pkt, seed 0", "pkt, sft.w_max 3, seed 0"),
    ]


def test_data_are_swept_for_every_arm_and_the_base_model() -> None:
    assert labels(Sweep("data.noise", (0.4,)), arms=("sft",)) == ["base, data.noise 0.4", "sft, data.noise 0.4, seed 0"]
    run = Run("sft", 0, (("data.noise", 0.4),))
    assert run.config(CONFIG).data.noise == 0.4


def test_jobs_depend_on_no_other() -> None:
    runs = plan(CONFIG, (0, 1), ("sft+irm", "mae"), [Sweep("ppo.beta", (0.1, 0.4))])
    found = [[run.label for run in group] for group in jobs(runs)]
    assert found[1] == ["sft, seed 0", "sft+irm, ppo.beta 0.1, seed 0", "sft+irm, seed 0"]
    assert [group[0] for group in found] == ["base", "sft, seed 0", "mae, seed 0", "sft, seed 1", "mae, seed 1"]


def test_the_base_model_in_all_settings_is_one_job_so_that_equal_test_items_are_asked_once() -> None:
    runs = plan(CONFIG, (0,), ("mae",), [Sweep("data.noise", (0.2, 0.4))])
    assert [run.label for run in jobs(runs)[0]] == ["base, data.noise 0.2", "base, data.noise 0.4"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("data.noise=0,0.2,null", (0, 0.2, None)),
        ("sft.trajectories=100, 300", (100, 300)),
        ("eval.bench=[rotbench,bfcl],[]", (("rotbench", "bfcl"), ())),
        ("ppo.advantage=gae,leave_one_out", ("gae", "leave_one_out")),
    ],
)
def test_sweeps_are_yaml_values(text: str, values: tuple[Any, ...]) -> None:
    assert parse_sweep(text, CONFIG).values == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sft.w_max", "expected FIELD=VALUE,VALUE"),
        ("sft.w_max=", "expected FIELD=VALUE,VALUE"),
        ("=3", "expected FIELD=VALUE,VALUE"),
        ("sft.w_max=[1", "expected FIELD=VALUE,VALUE"),
        ("sft.weight=1", "there is no such field"),
        ("sft.lora.rank=4", "sft.lora is null in the configuration"),
        ("seed=1,2", "use --seeds instead"),
        ("ppo.arm=sft", "use --arms instead"),
    ],
)
def test_wrong_sweeps_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_sweep(text, CONFIG)


@pytest.mark.parametrize(
    ("config", "seeds", "arms", "sweeps", "message"),
    [
        (CONFIG, [0], ["mae+prm"], [], "--arms mae.prm: unknown; expected some of sft, mae"),
        (CONFIG, [0], ["base"], [], "--arms base: unknown"),
        (CONFIG, [], ["sft"], [], "--seeds"),
        (CONFIG, [-1], ["sft"], [], "--seeds"),
        (RunConfig(), [0], ["sft+irm"], [], "ppo is null"),
        (RunConfig(sft=None), [0], ["sft"], [], "sft is null"),
        (RunConfig(eval=None), [0], ["sft"], [], "eval is null"),
        (CONFIG, [0], ["pkt"], [Sweep("sft.w_max", (0.5,))], "--sweep sft.w_max=0.5: sft.w_max: expected at least 1"),
    ],
)
def test_mistakes_are_refused_before_training(
    config: RunConfig, seeds: list[int], arms: list[str], sweeps: list[Sweep], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(config, seeds, arms, sweeps)
