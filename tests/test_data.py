"""The splits of a run: how much of the training data is used."""

from __future__ import annotations

from pathlib import Path

from tltrain import formats
from tltrain.config import DataConfig
from tltrain.data import load_data
from tltrain.toolworld import generate


def test_a_sample_of_the_training_data_contains_the_smaller_ones() -> None:
    def sampled(size: int | None, seed: int = 0) -> list[str | None]:
        return [trajectory.id for trajectory in load_data(DataConfig(size=40, trajectories=size), seed).train]

    whole, ten, twenty = sampled(None), sampled(10), sampled(20)
    assert (len(ten), len(twenty), len(whole)) == (10, 20, 40)
    assert set(ten) < set(twenty) < set(whole)
    assert ten == [name for name in whole if name in ten], "the order of the data"
    assert sampled(100) == whole
    assert set(sampled(10)) == set(ten) != set(whole[:10])


def test_the_held_out_split_does_not_depend_on_the_size_of_the_sample(tmp_path: Path) -> None:
    file = tmp_path / "logs.jsonl"
    formats.write(generate(40, 0).train, file)
    whole, part = (load_data(DataConfig(train=str(file), trajectories=size), 0) for size in (None, 8))
    assert part.tests == whole.tests and len(part.train) == 8 < len(whole.train)
    assert {trajectory.id for trajectory in part.train} < {trajectory.id for trajectory in whole.train}
