"""Seal-Tools (Wu et al. 2024, arXiv 2405.08355) as trajectories with confusable tool sets, for training and testing.

The data consist of queries with gold calls and a common list of 4,076 tools. Each query is offered its gold tools and
distractors whose names begin alike. Training tool sets contain no tool that a test query needs, so those stay unseen.
"""

from __future__ import annotations

import random
from argparse import ArgumentParser
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from tltrain import formats
from tltrain.audit.counting import common_prefix
from tltrain.errors import ConfigError
from tltrain.testsets.trajectories import TrajectorySet
from tltrain.trajectory import Tool, Trajectory

TRAIN = "dev.jsonl"
TESTS = {"unseen": "test_out_domain.jsonl", "in_domain": "test_in_domain.jsonl"}
"""The files of the test splits. Queries that share a gold tool with a training query are left out of both."""


@dataclass(frozen=True)
class SealTools(TrajectorySet):
    """Seal-Tools' queries whose tools occur in no training query: those of other domains, and of the same."""

    SPLITS = tuple(TESTS)

    @classmethod
    def load(cls, folder: Path, split: str) -> Self:
        """The test queries of `folder/sealtools`, as `read_splits` selects them.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or cannot be read.
        """
        if split not in cls.SPLITS:
            raise ConfigError(f"sealtools has no split {split!r}: expected {', '.join(cls.SPLITS)}")
        return cls.of("sealtools", split, read_splits(folder / "sealtools").tests[split])


class Splits(NamedTuple):
    """The training queries, and the test queries by split."""

    train: list[Trajectory]
    tests: dict[str, list[Trajectory]]


def read_splits(folder: Path, tools_per_query: int = 3, seed: int = 0) -> Splits:
    """The training queries, and the queries of each test file that share no gold tool with them.

    Args:
        folder: holds the data set's files.
        tools_per_query: size of a tool set; if the gold tools leave no room for two distractors, it is larger.
        seed: random seed of the order of tools and the choice among equally confusable distractors.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    tools = sorted(formats.read_tools(folder / "tool.jsonl"), key=lambda tool: tool.name)
    train = list(formats.read(folder / TRAIN, tools=tools))
    seen = set(_called(train))
    tests = {
        split: [_as_gold(query) for query in formats.read(folder / file, tools=tools) if not seen & _tools_of(query)]
        for split, file in TESTS.items()
    }
    unseen = set(_called(chain(*tests.values())))
    rng = random.Random(seed)
    trainable = [tool for tool in tools if tool.name not in unseen]
    return Splits(
        [_with_distractors(query, trainable, tools_per_query, rng) for query in train],
        {
            split: [_with_distractors(query, tools, tools_per_query, rng) for query in queries]
            for split, queries in tests.items()
        },
    )


def _as_gold(trajectory: Trajectory) -> Trajectory:
    """The trajectory with its replies labelled as right: they are golds even if they violate the schema."""
    messages = (
        replace(message, weight=1.0) if message.role == "assistant" else message for message in trajectory.messages
    )
    return replace(trajectory, messages=tuple(messages))


def _tools_of(query: Trajectory) -> set[str]:
    return set(_called([query]))


def _called(trajectories: Iterable[Trajectory]) -> Iterator[str]:
    return (site.call.name for trajectory in trajectories for site in trajectory.call_sites())


def _with_distractors(trajectory: Trajectory, tools: Sequence[Tool], count: int, rng: random.Random) -> Trajectory:
    """The trajectory with its gold tools among confusable ones, in random order. `tools` are sorted by name."""
    gold = {tool.name: tool for tool in trajectory.tools}
    wanted = max(count - len(gold), 2)
    others: dict[str, Tool] = {}
    for name in gold:  # tools with the longest common prefix are its alphabetical neighbours
        position = bisect_left(tools, name, key=lambda tool: tool.name)
        near = tools[max(position - 3 * wanted, 0) : position + 3 * wanted + 1]
        others |= {tool.name: tool for tool in near if tool.name not in gold}
    mixed = rng.sample(list(others.values()), len(others))
    mixed.sort(key=lambda tool: -max(len(common_prefix(tool.name, name)) for name in gold))
    chosen = [*gold.values(), *mixed[:wanted]]
    return replace(trajectory, tools=tuple(rng.sample(chosen, len(chosen))))


def main() -> None:
    """Write the training queries and each test split, for `tltrain run recipes/sealtools.yaml`."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the data set's files")
    parser.add_argument("--out", type=Path, default=Path("data/sealtools"), help="folder to write to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train, tests = read_splits(options.folder)
    for name, split in (("train", train), *tests.items()):
        print(f"{options.out / name}.jsonl: {formats.write(split, options.out / f'{name}.jsonl')} queries")


if __name__ == "__main__":
    main()
