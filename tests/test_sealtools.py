"""Seal-Tools as training and test data: what is held apart, and how confusable the tool sets are."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from tltrain.testsets.sealtools import SealTools, read_splits
from tltrain.trajectory import Trajectory


def called(queries: Iterable[Trajectory]) -> set[str]:
    return {site.call.name for query in queries for site in query.call_sites()}


def test_no_tool_of_a_test_query_is_in_training(shared_data: Path) -> None:
    train, tests = read_splits(shared_data / "sealtools")
    assert (len(train), {name: len(split) for name, split in tests.items()}) == (700, {"unseen": 276, "in_domain": 209})
    given_in_training = {tool.name for query in train for tool in query.tools}
    for split in tests.values():
        assert not given_in_training & called(split)


def test_every_query_has_its_gold_tools_among_confusable_ones(shared_data: Path) -> None:
    train, tests = read_splits(shared_data / "sealtools")
    queries = [*train, *chain(*tests.values())]
    alike = 0
    for query in queries:
        names = [tool.name for tool in query.tools]
        gold = called([query])
        assert gold <= set(names)
        assert len(set(names)) == len(names) >= max(3, len(gold) + 2)
        others = [name for name in names if name not in gold]
        alike += all(any(other[:4] == name[:4] for name in gold) for other in others)
    assert alike / len(queries) > 0.9


def test_the_same_seed_gives_the_same_tool_sets(shared_data: Path) -> None:
    folder = shared_data / "sealtools"
    assert read_splits(folder, seed=1) == read_splits(folder, seed=1)
    assert read_splits(folder, seed=1) != read_splits(folder, seed=2)


def test_both_splits_are_test_sets(shared_data: Path) -> None:
    sizes = {split: len(SealTools.load(shared_data, split).items) for split in SealTools.SPLITS}
    assert sizes["unseen"] >= 276 and sizes["in_domain"] >= 209
