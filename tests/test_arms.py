"""The table of training arms: references that exist, colours that differ, names that follow from the row."""

from __future__ import annotations

import pytest

from tltrain.arms import ARMS, SFT_ARMS, arm_after_ppo
from tltrain.report.charts import PALETTE


def test_every_reference_is_an_arm_and_the_base_model_has_none() -> None:
    assert [name for name, arm in ARMS.items() if arm.against is None] == ["base"]
    assert {arm.against for arm in ARMS.values() if arm.against} <= set(ARMS)


def test_colours_are_in_the_palette_and_differ() -> None:
    colours = [arm.colour for arm in ARMS.values() if arm.colour is not None]
    assert len(colours) == len(set(colours))
    assert set(colours) <= set(range(len(PALETTE)))


def test_sft_arms_have_the_masks_and_weights_of_their_name() -> None:
    assert SFT_ARMS == ("sft", "mae", "pkt", "mae+pkt")
    assert [(ARMS[name].mae, ARMS[name].pkt) for name in SFT_ARMS] == [
        (False, False), (True, False), (False, True), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(("arm", "name"), [(None, "irm"), ("sft", "sft+irm"), ("mae+pkt", "mae+pkt+irm")])
def test_an_arm_after_ppo_is_compared_with_the_arm_before_it(arm: str | None, name: str) -> None:
    assert arm_after_ppo(arm) == name
    assert ARMS[name].irm
    assert ARMS[name].against == (arm or "base")
