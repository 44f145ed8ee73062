"""The statistics of a data set: failed calls, tools, endings, duplicates, lengths; one pass, bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from tltrain.audit.calls import CallStatistics
from tltrain.audit.counting import Spread, Tally, share
from tltrain.audit.duplicates import Duplicates
from tltrain.audit.failure_detectors import CallAssessment, assess_calls
from tltrain.audit.feedback import Mode
from tltrain.audit.headline import headline, inferred_tools_warning
from tltrain.audit.labels import LabelStatistics
from tltrain.audit.lengths import Characters, Lengths, Masking, Tokens, maskings
from tltrain.audit.toolsets import ToolStatistics
from tltrain.trajectory import Message, Trajectory

LIMITS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
"""Length limits, in tokens, that every audit reports on, in addition to the requested limit."""
PROBLEMS_SHOWN = 50
ENDINGS = {
    "answer": "an answer",
    "finish": "a call to finish",
    "user": "a message from the user",
    "call": "a call without feedback",
    "feedback": "feedback, unanswered",
    "gave_up": "giving up",
    "empty": "an empty reply",
    "no_reply": "no reply at all",
}
WITHOUT_ANSWER = ("call", "feedback", "gave_up", "empty", "no_reply")


@dataclass(kw_only=True)
class Masked:
    """What MAE masks: numbers of replies, and `length` and `masked` in the unit of the lengths."""

    replies: int = 0
    whole: int = 0
    in_part: int = 0
    length: int = 0
    masked: int = 0
    nothing_left: int = 0

    def add_replies(self, masks: Sequence[Masking]) -> None:
        """Count the replies of one trajectory."""
        self.replies += len(masks)
        self.whole += sum(mask.whole for mask in masks)
        self.in_part += sum(bool(mask.calls) and not mask.whole for mask in masks)
        self.nothing_left += bool(masks) and all(mask.whole for mask in masks)

    def merge(self, later: Masked) -> None:
        """Add the counts of another part of the data."""
        self.replies += later.replies
        self.whole += later.whole
        self.in_part += later.in_part
        self.length += later.length
        self.masked += later.masked
        self.nothing_left += later.nothing_left


@dataclass
class Statistics:
    """Everything an audit counts. Parts of a data set can be counted separately and merged in order."""

    mode: Mode = "default"
    _: KW_ONLY
    trajectories: int = 0
    messages: int = 0
    parallel: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)
    calls_per_trajectory: Spread = field(default_factory=Spread)
    failing: int = 0
    lengths: Spread = field(default_factory=Spread)
    refused: Tally = field(default_factory=lambda: Tally(100))
    masked: Masked = field(default_factory=Masked)
    calls: CallStatistics = field(default_factory=CallStatistics)
    tools: ToolStatistics = field(default_factory=ToolStatistics)
    duplicates: Duplicates = field(default_factory=Duplicates)
    labels: LabelStatistics = field(default_factory=LabelStatistics)

    def __post_init__(self) -> None:
        self.calls.mode = self.mode

    def add(
        self,
        trajectory: Trajectory,
        assessments: list[CallAssessment],
        masks: list[Masking],
        lengths: Lengths | str,
        location: str,
    ) -> None:
        """Count one trajectory. `lengths` is an error message where the chat template refuses the trajectory."""
        self.trajectories += 1
        self.messages += len(trajectory.messages)
        self.parallel += any(len(reply.calls) > 1 for _, reply in trajectory.replies())
        self.endings[ending(trajectory)] += 1
        self.weights.update(_label(reply) for _, reply in trajectory.replies())
        self.calls_per_trajectory.add(len(assessments))
        self.failing += any(assessment.failed for assessment in assessments)
        self.calls.add(trajectory, assessments, location)
        self.tools.add(trajectory)
        self.duplicates.add(trajectory)
        self.labels.add(trajectory, assessments)
        self.masked.add_replies(masks)
        if isinstance(lengths, str):
            self.refused.add(lengths)
            return
        self.lengths.add(lengths.total)
        self.masked.length += sum(lengths.replies)
        self.masked.masked += sum(lengths.masked)

    def merge(self, later: Statistics) -> None:
        """Add the statistics of the part of the data that follows."""
        self.trajectories += later.trajectories
        self.messages += later.messages
        self.parallel += later.parallel
        self.failing += later.failing
        self.endings.update(later.endings)
        self.weights.update(later.weights)
        self.calls_per_trajectory.merge(later.calls_per_trajectory)
        self.lengths.merge(later.lengths)
        self.refused.merge(later.refused)
        self.masked.merge(later.masked)
        self.calls.merge(later.calls)
        self.tools.merge(later.tools)
        self.duplicates.merge(later.duplicates)
        self.labels.merge(later.labels)

    def to_json(self, unit: str, max_length: int | None = None) -> dict[str, Any]:
        """The audit without the records that could not be read (see `run.audit` for the keys)."""
        calls = self.calls.to_json()
        trajectories = self._trajectories()
        warning = inferred_tools_warning(calls["total"], calls["form_not_judged"], calls["not_judged"])
        return {
            "headline": headline(self.trajectories, calls, trajectories["without_answer"]),
            "warnings": [] if warning is None else [warning],
            "mode": self.mode,
            "trajectories": trajectories,
            "calls": calls,
            "readers": self.calls.agreement_json(),
            "tools": self.tools.to_json(self.calls.tools.counts.keys()),
            "mae": self._mae(unit),
            "lengths": self._lengths(unit, max_length),
            "duplicates": self.duplicates.to_json(),
            "labels": self.labels.to_json(),
        }

    def _trajectories(self) -> dict[str, Any]:
        return {
            "total": self.trajectories,
            "messages": self.messages,
            "replies": self.masked.replies,
            "with_failed_calls": self.failing,
            "with_parallel_calls": self.parallel,
            "without_calls": self.calls_per_trajectory.counts[0],
            "calls_each": self.calls_per_trajectory.summary(),
            "endings": {name: self.endings[name] for name in ENDINGS},
            "without_answer": sum(self.endings[name] for name in WITHOUT_ANSWER),
            "labelled_replies": {name: self.weights[name] for name in ("masked", "trained", "unlabelled")},
        }

    def _mae(self, unit: str) -> dict[str, Any]:
        masked = self.masked
        return {
            "unit": unit,
            "replies": masked.replies,
            "masked_whole": masked.whole,
            "masked_in_part": masked.in_part,
            "length": masked.length,
            "masked": masked.masked,
            "kept": masked.length - masked.masked,
            "share_masked": share(masked.masked, masked.length),
            "trajectories_with_nothing_left": masked.nothing_left,
        }

    def _lengths(self, unit: str, max_length: int | None) -> dict[str, Any]:
        limits = sorted({*LIMITS, *([max_length] if max_length else [])}) if unit == "tokens" else []
        return {
            "unit": unit,
            "max_length": max_length,
            **self.lengths.summary(),
            "histogram": self.lengths.histogram(),
            "limits": [self._truncated(limit) for limit in limits],
            "refused": {"number": self.refused.total, "reasons": [list(row) for row in self.refused.common(5)]},
        }

    def _truncated(self, limit: int) -> dict[str, Any]:
        longer = {length: count for length, count in self.lengths.counts.items() if length > limit}
        number, lost = sum(longer.values()), sum((length - limit) * count for length, count in longer.items())
        return {
            "limit": limit,
            "cut": number,
            "share": share(number, self.lengths.number),
            "tokens_lost": lost,
            "share_lost": share(lost, self.lengths.sum),
        }


def count(trajectories: Iterable[Trajectory], mode: Mode, meter: Tokens | Characters, start: int = 0) -> Statistics:
    """The statistics of some trajectories; `start` is the index of the first of them in the data set."""
    statistics = Statistics(mode)
    chosen = list(trajectories)
    assessments = [assess_calls(trajectory, mode) for trajectory in chosen]
    masks = [maskings(trajectory, found) for trajectory, found in zip(chosen, assessments, strict=True)]
    lengths = meter.measure(list(zip(chosen, masks, strict=True)))
    for index, trajectory in enumerate(chosen):
        location = _location(trajectory, start + index + 1)
        statistics.add(trajectory, assessments[index], masks[index], lengths[index], location)
    return statistics


def ending(trajectory: Trajectory) -> str:
    """How a trajectory ends, as a key of `ENDINGS`."""
    replies = [reply for _, reply in trajectory.replies()]
    if not replies:
        return "no_reply"
    last, message = replies[-1], trajectory.messages[-1]
    if any(call.name.lower() == "finish" for call in last.calls):
        return "gave_up" if any(_gives_up(call.arguments) for call in last.calls) else "finish"
    if message.role in ("user", "system"):
        return "user"
    if message.role == "tool":
        return "feedback"
    if last.calls:
        return "call"
    return "answer" if (last.content or "").strip() else "empty"


def _gives_up(arguments: Any) -> bool:
    """Whether the arguments of `finish` give up, as ToolBench writes it."""
    return isinstance(arguments, dict) and str(arguments.get("return_type", "")).startswith("give_up")


def _label(reply: Message) -> str:
    return "unlabelled" if reply.weight is None else "trained" if reply.weight else "masked"


def _location(trajectory: Trajectory, number: int) -> str:
    name = trajectory.source or f"trajectory {number}"
    return name if trajectory.id is None else f"{name} ({trajectory.id})"
