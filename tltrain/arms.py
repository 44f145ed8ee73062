"""The training arms: what each trains with, what it is compared with, and how reports name and colour it.

To add an arm of SFT, add a row to `_SFT_ROWS`; its arm after PPO follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train the model. Arms share data, order and optimiser, and differ in the fields below only."""

    name: str
    """Name in the configuration, in the run directory and in the tables of scores."""
    title: str
    """What the arm is, in words."""
    sft: bool = True
    """Trained with SFT."""
    mae: bool = False
    """SFT excludes failed calls from the loss (MAE)."""
    pkt: bool = False
    """SFT gives key tokens a larger weight (PKT)."""
    irm: bool = False
    """Then trained with PPO on the judge's reward (IRM)."""
    against: str | None = None
    """Name of the arm that it is compared with, which lacks only what `gain` names."""
    gain: str = ""
    """What the arm adds to `against`, as the headline of a report names it; empty: the headline omits the arm."""
    colour: int | None = None
    """Index into `report.charts.PALETTE`; None: the first free colour of a report."""


def arm_after_ppo(name: str | None) -> str:
    """Name of the arm that continues the SFT arm `name` with PPO; None: PPO starts from the base model."""
    return "irm" if name is None else f"{name}+irm"


def _after_ppo(arm: Arm) -> Arm:
    return Arm(
        name=arm_after_ppo(arm.name),
        title=f"PPO with IRM after {arm.title}",
        mae=arm.mae,
        pkt=arm.pkt,
        irm=True,
        against=arm.name,
        gain="IRM",
        colour=1 if arm.name == "mae+pkt" else None,
    )


_BASE = Arm(name="base", title="the base model", sft=False, colour=0)
_SFT_ROWS = (
    Arm(name="sft", title="standard SFT", against="base", colour=2),
    Arm(name="mae", title="SFT with MAE", mae=True, against="sft", gain="MAE"),
    Arm(name="pkt", title="SFT with PKT", pkt=True, against="sft", gain="PKT"),
    Arm(name="mae+pkt", title="SFT with MAE and PKT", mae=True, pkt=True, against="sft", gain="MAE and PKT", colour=3),
)
_PPO_ALONE = Arm(name=arm_after_ppo(None), title="PPO with IRM alone", sft=False, irm=True, against="base", gain="IRM")

ARMS: dict[str, Arm] = {arm.name: arm for arm in (_BASE, *_SFT_ROWS, *map(_after_ppo, _SFT_ROWS), _PPO_ALONE)}
"""Every arm by name, the untrained model among them."""
SFT_ARMS: tuple[str, ...] = tuple(arm.name for arm in _SFT_ROWS)
"""The names that a configuration accepts as arms of SFT."""
