"""Trajectories as a test set: which replies are items, and how whole trajectories are sampled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.micro import ORDER_TOOLS, micro_trajectories

from tltrain.errors import ConfigError
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.trajectory import Call, Message, Trajectory

RIGHT = Call("get_order", {"order_id": "A-1"})


def reply(*calls: Call, content: str | None = None, weight: float | None = None) -> Message:
    return Message("assistant", content, calls, weight=weight)


def test_every_reply_is_an_item_with_its_history_as_the_prompt() -> None:
    (trajectory,) = micro_trajectories(4)[3:]
    test = TrajectorySet.of("own", "seen", [trajectory])
    assert (test.name, test.split, test.total) == ("own", "seen", 2)
    first, second = test.items
    assert [item.index for item in test.items] == [0, 1]
    assert first.prompt.messages == trajectory.messages[:1]
    assert second.prompt.messages == trajectory.messages[:4]
    assert [item.prompt.id for item in test.items] == ["3#1", "3#4"]
    assert first.golds == (trajectory.messages[1].calls,)
    assert second.golds == ((),), "an answer without a call is an item too"
    assert first.prompt.tools == trajectory.tools


def test_a_failed_reply_is_no_item_but_part_of_the_history() -> None:
    (trajectory,) = micro_trajectories(2)[1:]
    (item,) = TrajectorySet.of("own", "seen", [trajectory]).items
    assert item.prompt.messages == trajectory.messages[:3]
    assert item.golds == (trajectory.messages[3].calls,)


def test_a_reply_that_is_labelled_0_is_no_item() -> None:
    user = Message("user", "What is order A-1?")
    wrong = Call("get_order", {"ordr_id": "A-1"})
    labelled = Trajectory((user, reply(RIGHT, weight=0), Message("tool", "{}"), reply(content="Sent.", weight=0)))
    assert TrajectorySet.of("own", "seen", [replace(labelled, tools=ORDER_TOOLS)]).items == []
    kept = Trajectory((user, reply(wrong, weight=1), Message("tool", "Error: no"), reply(content="?")), ORDER_TOOLS)
    assert [item.golds for item in TrajectorySet.of("own", "seen", [kept]).items] == [((wrong,),), ((),)]


def test_the_paper_s_mode_looks_at_the_feedback_only() -> None:
    user, wrong = Message("user", "What is order A-1?"), Call("get_order", {"ordr_id": "A-1"})
    trajectory = Trajectory((user, reply(wrong), Message("tool", "{}")), ORDER_TOOLS)
    assert TrajectorySet.of("own", "seen", [trajectory]).items == []
    assert len(TrajectorySet.of("own", "seen", [trajectory], "paper").items) == 1


def test_sampling_draws_whole_trajectories_and_keeps_indices() -> None:
    test = TrajectorySet.of("own", "seen", micro_trajectories(12))
    assert [len(items) for items in test.trajectories] == [1, 1, 1, 2] * 3
    for seed in range(5):
        sampled = test.sample(5, seed)
        assert sampled.items == [test.items[item.index] for item in sampled.items]
        indices = [item.index for item in sampled.items]
        assert indices == sorted(indices)
        taken = [set(items) & set(indices) for items in test.trajectories]
        assert [len(found) for found in taken if found] == [
            len(i) for i, found in zip(test.trajectories, taken, strict=True) if found
        ]
        assert sum(bool(found) for found in taken) == 5
        assert sampled.total == test.total == 15
        assert sampled.items == test.sample(5, seed).items
    assert len({tuple(item.index for item in test.sample(5, seed).items) for seed in range(5)}) > 1


@pytest.mark.parametrize("limit", [None, 4, 5])
def test_a_limit_that_is_not_reached_changes_nothing(limit: int | None) -> None:
    test = TrajectorySet.of("own", "seen", micro_trajectories(4))
    assert test.sample(limit, 0) is test


def test_it_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a split of trajectories is made with TrajectorySet\.of"):
        TrajectorySet.load(tmp_path, "seen")
