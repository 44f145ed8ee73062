"""Seal-Tools as training and test data: what is held apart, and how confusable the tool sets are."""

from __future__ import annotations

from pathlib import Path

from tltrain.testsets.sealtools import read_splits as load


def test_no_tool_of_a_test_query_is_in_training(shared_data: Path) -> None:
    train, test = load(shared_data / "sealtools")
    assert (len(train), len(test)) == (700, 276)
    given_in_training = {tool.name for one in train for tool in one.tools}
    called_in_test = {site.call.name for one in test for site in one.call_sites()}
    assert not given_in_training & called_in_test


def test_every_query_has_its_gold_tools_among_confusable_ones(shared_data: Path) -> None:
    train, test = load(shared_data / "sealtools")
    alike = 0
    for one in [*train, *test]:
        names = [tool.name for tool in one.tools]
        gold = {site.call.name for site in one.call_sites()}
        assert gold <= set(names)
        assert len(set(names)) == len(names) >= max(3, len(gold) + 2)
        others = [name for name in names if name not in gold]
        alike += all(any(other[:4] == name[:4] for name in gold) for other in others)
    assert alike / (len(train) + len(test)) > 0.9


def test_the_same_seed_gives_the_same_tool_sets(shared_data: Path) -> None:
    assert load(shared_data / "sealtools", seed=1) == load(shared_data / "sealtools", seed=1)
    assert load(shared_data / "sealtools", seed=1) != load(shared_data / "sealtools", seed=2)
