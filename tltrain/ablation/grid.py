"""Which runs an ablation consists of: arms, random seeds and, in a sweep, values of a configuration field."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tltrain.arms import ARMS, Arm
from tltrain.config import RunConfig, parse_config
from tltrain.errors import ConfigError

BASE = "base"
GRID_ARMS = tuple(name for name, arm in ARMS.items() if arm.sft)
"""The arms of an ablation, without the base model: each SFT arm, and each followed by PPO."""
PARTS = {"MAE": ("mae",), "PKT": ("pkt",), "IRM": ("irm",)}
"""The parts of the method, each as the fields of `Arm` that say whether an arm has it."""
_OWN_OPTIONS = {"seed": "--seeds", "sft.arms": "--arms", "ppo.arm": "--arms"}

Overrides = Mapping[str, Any]
"""Values of configuration fields by dotted name, such as `{"sft.w_max": 3}`."""


@dataclass(frozen=True)
class Sweep:
    """Values of one configuration field, each of which is a setting of the ablation."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """One arm, trained with one random seed and evaluated on every test set."""

    arm: str
    seed: int | None
    """None for the base model, which no random seed affects."""
    overrides: tuple[tuple[str, Any], ...] = ()
    """Fields that differ from the ablation's configuration, as pairs of name and value."""

    @property
    def parent(self) -> Run | None:
        """The run whose model PPO starts from; None for runs without PPO."""
        against = ARMS[self.arm].against
        if not ARMS[self.arm].irm or against is None:
            return None
        return Run(against, self.seed, relevant(ARMS[against], dict(self.overrides)))

    @property
    def without_mae(self) -> Run | None:
        """The same run but for MAE; None if it has none."""
        arm = lacking(self.arm, ["mae"])
        return None if arm is None else replace(self, arm=arm)

    @property
    def setting(self) -> str:
        """Name of the setting as a folder: `plain`, or the fields that differ."""
        return ",".join(_folder_name(f"{field}={value}") for field, value in self.overrides) or "plain"

    @property
    def label(self) -> str:
        """The run in words, for progress and messages."""
        parts = [self.arm, *(f"{field} {value}" for field, value in self.overrides)]
        return ", ".join(parts if self.seed is None else [*parts, f"seed {self.seed}"])

    @cached_property
    def path(self) -> Path:
        """Where the run is, relative to `runs/` and `work/`; a run with PPO shares the folder of its SFT arm."""
        arm = self.parent.arm if self.parent else self.arm
        return Path(self.setting) / ("" if self.seed is None else f"seed-{self.seed}") / arm

    def config(self, base: RunConfig) -> RunConfig:
        """The configuration of the run. All random seeds share the data, so that they share the test items.

        Raises:
            ConfigError: an overridden field does not exist, or its value is invalid.
        """
        values = base.model_dump()
        values["data"]["seed"] = base.data_seed
        if self.seed is not None:
            arm = self.parent.arm if self.parent else self.arm
            values["seed"] = self.seed
            values["sft"]["arms"] = [arm]
            if values["ppo"]:
                values["ppo"]["arm"] = arm
        for field, value in self.overrides:
            _set(values, field, value)
        return parse_config(values, f"--sweep {self.setting}" if self.overrides else "configuration")


def lacking(arm: str, fields: Collection[str]) -> str | None:
    """The arm that differs in lacking the parts (`mae`, `pkt`, `irm`, as in `Arm`); None if `arm` lacks one itself."""
    own = {field: getattr(ARMS[arm], field) for part in PARTS.values() for field in part}
    if not all(own[field] for field in fields):
        return None
    wanted = own | dict.fromkeys(fields, False)
    return next(name for name in GRID_ARMS if all(getattr(ARMS[name], field) == wanted[field] for field in wanted))


def relevant(arm: Arm, overrides: Overrides) -> tuple[tuple[str, Any], ...]:
    """The overrides that affect an arm: PPO's settings do not affect SFT, nor the weight of key tokens arms without
    PKT, so such runs are shared by all values of the field."""
    unaffected = [prefix for prefix, affects in (("sft.w_max", arm.pkt), ("sft.", arm.sft), ("ppo.", arm.irm))
                  if not affects]  # fmt: skip
    return tuple((field, value) for field, value in overrides.items() if not field.startswith(tuple(unaffected)))


def parse_sweep(text: str, config: RunConfig) -> Sweep:
    """Read `FIELD=V1,V2,…`; values are YAML.

    Raises:
        ConfigError: the text is not of this form, or the field is unknown or has an option of its own.
    """
    field, equals, values = text.partition("=")
    try:
        found = yaml.safe_load(f"[{values}]") if equals else None
    except yaml.YAMLError:
        found = None
    if not found or not field or any(isinstance(value, dict) for value in found):
        raise ConfigError(f"--sweep {text}: expected FIELD=VALUE,VALUE,… such as sft.w_max=1,3,9")
    if field in _OWN_OPTIONS:
        raise ConfigError(f"--sweep {field}: use {_OWN_OPTIONS[field]} instead")
    value_of(config.model_dump(), field)
    return Sweep(field, tuple(map(frozen, found)))


def frozen(value: Any) -> Any:
    """The value with lists as tuples, so that it can be part of a `Run`."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def plan(config: RunConfig, seeds: Sequence[int], arms: Sequence[str], sweeps: Sequence[Sweep]) -> list[Run]:
    """The runs in the order of execution: the base model first, then seed by seed, so that an ablation that is stopped
    early has all its arms; a run with PPO follows the run that it starts from.

    Raises:
        ConfigError: an unknown arm, no seed, or a configuration that trains nothing or cannot be overridden.
    """
    arms = _with_parents(arms, config)
    if not seeds or min(seeds) < 0:
        raise ConfigError("--seeds: expected whole numbers from 0 on, such as 0,1,2")
    given = config.model_dump()
    settings: list[Overrides] = [{sweep.field: value} for sweep in sweeps for value in sweep.values] or [{}]
    changed = [{field: value for field, value in setting.items() if frozen(value_of(given, field)) != value}
               for setting in settings]  # fmt: skip
    runs = [Run(BASE, None, relevant(ARMS[BASE], overrides)) for overrides in changed]
    runs += [Run(arm, seed, relevant(ARMS[arm], overrides)) for seed in seeds for overrides in changed for arm in arms]
    distinct = list(dict.fromkeys(runs))
    for run in distinct:
        run.config(config)
    return distinct


def jobs(runs: Sequence[Run], mae_is_idle: Callable[[Run], bool] = lambda run: False) -> list[list[Run]]:
    """The runs in groups that depend on no other: the base model in every setting, and each SFT arm with the runs that
    start from its model. Where MAE is idle, as no call of a run's data failed, an arm with MAE is in the group of the
    arm without it."""
    planned = set(runs)
    groups: dict[Run, list[Run]] = {}
    for run in runs:
        start = Run(BASE, None) if run.arm == BASE else run.parent or run
        same = start.without_mae if start.arm != BASE else None
        key = same if same is not None and same in planned and mae_is_idle(run) else start
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def value_of(config: Mapping[str, Any], field: str) -> Any:
    """The value of a field by its dotted name.

    Raises:
        ConfigError: there is no such field, or the section that contains it is null.
    """
    found: Any = config
    parts = field.split(".")
    for depth, part in enumerate(parts):
        if found is None:
            raise ConfigError(f"--sweep {field}: {'.'.join(parts[:depth])} is null in the configuration")
        if not isinstance(found, dict) or part not in found:
            raise ConfigError(f"--sweep {field}: there is no such field in the configuration")
        found = found[part]
    return found


def _set(values: dict[str, Any], field: str, value: Any) -> None:
    *sections, name = field.split(".")
    for section in sections:
        values = values[section]
    values[name] = value


def _with_parents(arms: Sequence[str], config: RunConfig) -> list[str]:
    """The arms in the order of the table, each with the arm whose model it starts from."""
    if config.sft is None:
        raise ConfigError("sft is null: an ablation compares arms of SFT")
    if config.eval is None:
        raise ConfigError("eval is null: an ablation compares scores")
    if unknown := [arm for arm in arms if arm not in GRID_ARMS]:
        raise ConfigError(f"--arms {','.join(unknown)}: unknown; expected some of {', '.join(GRID_ARMS)}")
    if config.ppo is None and any(ARMS[arm].irm for arm in arms):
        raise ConfigError(
            "ppo is null: then --arms can only name arms without +irm; `ppo: {}` stands for its default settings"
        )
    needed = {*arms, *(str(ARMS[arm].against) for arm in arms if ARMS[arm].irm)}
    return [arm for arm in GRID_ARMS if arm in needed]


def default_arms(config: RunConfig) -> list[str]:
    """All eight arms; without PPO those of SFT alone."""
    return [name for name in GRID_ARMS if config.ppo is not None or not ARMS[name].irm]


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]", "-", text)
