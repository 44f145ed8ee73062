"""The logs of the parts, tokenised."""

from __future__ import annotations

from functools import cache
from itertools import chain
from pathlib import Path

from speed.workload import Name, make_logs
from transformers import AutoTokenizer

from gpu.part import Job
from tltrain.encode import Encoder
from tltrain.engine.tree import TokenSequence
from tltrain.trajectory import Trajectory

TINY_TOOLS = 2


@cache
def encoder(folder: str, model: str) -> Encoder:
    """Of all replies, each token with weight 1."""
    tokenizer = AutoTokenizer.from_pretrained(Path(folder) / model)
    return Encoder(tokenizer, mae=False, pkt=False, stop_ids=[tokenizer.eos_token_id])


def logs(name: Name, count: int, job: Job) -> list[Trajectory]:
    """Logs of toolworld, of 2,000 tokens and more; tiny ones have few tools."""
    made = make_logs(name, count, job.seed)
    return [small(log) for log in made] if job.tiny else made


def small(log: Trajectory) -> Trajectory:
    """A log with the tools that it calls, at most `TINY_TOOLS`, and its first messages."""
    called = {site.call.name for site in log.call_sites()}
    tools = [tool for tool in log.tools if tool.name in called] or list(log.tools)
    return Trajectory(log.messages[:5], tuple(tools[:TINY_TOOLS]), log.id)


def sequences(trajectories: list[Trajectory], job: Job) -> list[list[TokenSequence]]:
    """For each log, a sequence per reply."""
    own = encoder(job.folder, job.model)
    return [
        [TokenSequence(step.prompt_ids + step.reply_ids, len(step.prompt_ids), step.weights) for step in own.steps(log)]
        for log in trajectories
    ]


def joined(parts: list[list[TokenSequence]]) -> list[TokenSequence]:
    """The sequences of several logs."""
    return list(chain(*parts))


def prompts(name: Name, count: int, job: Job) -> list[list[int]]:
    """The prompts of the first replies."""
    return [list(parts[0].ids[: parts[0].start]) for parts in sequences(logs(name, count, job), job)]
