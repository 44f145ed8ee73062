"""Training trajectories that no SFT run drew, to choose settings on: `python benchmarks/held_out.py CONFIG --out FILE`.

An ablation trains on `sft.trajectories` of the training split, and each random seed draws others. What none of its
seeds drew is neither training data of any of its models nor a test split, so arms and settings can be chosen on it:
`tltrain eval A=MODEL B=MODEL --data FILE --out DIR`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tltrain import formats
from tltrain.config import RunConfig, read_config
from tltrain.data import load_data, opening
from tltrain.progress import quantity
from tltrain.sft import draw, epoch_batches
from tltrain.trajectory import Trajectory


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Write training trajectories that no SFT run of an ablation drew.")
    parser.add_argument("config", type=Path, help="configuration of the ablation")
    parser.add_argument("--seeds", default="0,1,2", help="its random seeds (default 0,1,2)")
    parser.add_argument("--trajectories", type=int, default=100, help="how many of them (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of this choice (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="file in the OpenAI format")
    return parser.parse_args()


def never_drawn(config: RunConfig, train: list[Trajectory], seeds: list[int]) -> list[Trajectory]:
    """The trajectories that SFT draws with none of the seeds and that begin like none of those drawn."""
    assert config.sft is not None, "an ablation has SFT arms"
    drawn = {index for seed in seeds for batch in epoch_batches(train, config.sft, seed) for index in batch}
    begun = {opening(train[index]) for index in drawn}
    return [trajectory for trajectory in train if opening(trajectory) not in begun]


def main() -> None:
    """Write the file and say what it contains."""
    args = arguments()
    config: RunConfig = read_config(args.config)
    train = load_data(config.data, config.data_seed).train
    left = never_drawn(config, train, [int(seed) for seed in args.seeds.split(",")])
    chosen = draw(left, args.trajectories, args.seed)
    written = formats.write(chosen, args.out)
    print(f"{quantity(len(left), 'trajectory')} of {len(train):,} were never drawn; {written} of them written")


if __name__ == "__main__":
    main()
