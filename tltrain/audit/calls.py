"""What the two readers found, call by call: categories, tools, steps, the commonest failures with examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tltrain.audit.confusable import nearest
from tltrain.audit.counting import Sample, Tally, digest, share, shorten
from tltrain.audit.failure_detectors import CallReading
from tltrain.audit.feedback import Mode
from tltrain.audit.patterns import fault_pattern, feedback_pattern
from tltrain.audit.schema import SchemaFault, schema_faults
from tltrain.trajectory import CallSite, Trajectory

CATEGORIES = {
    "unknown_tool": "a tool that was not given",
    "not_an_object": "arguments that are no JSON object",
    "unknown_argument": "an argument that the tool does not have",
    "missing_argument": "a required argument left out",
    "bad_value": "a value that the tool cannot take",
    "execution": "well-formed, but failed when executed",
    "labelled": "labelled as failed in the data",
}
"""The categories of failed calls, the most telling first; a call counts in the first that applies."""
MAX_GROUPS = 3_000
GROUPS_SHOWN = 20
TOOLS_SHOWN = 500
EXAMPLES = 3


@dataclass
class Group:
    """Failures of one kind: how many, a few of them, and the commonest wordings."""

    count: int = 0
    sample: Sample = field(default_factory=lambda: Sample(EXAMPLES))
    wordings: Tally = field(default_factory=lambda: Tally(500))

    def merge(self, later: Group) -> None:
        """Take in the same kind of failures of another part of the data."""
        self.count += later.count
        self.sample.merge(later.sample)
        self.wordings.merge(later.wordings)


@dataclass
class CallStatistics:
    """Counts over the calls seen."""

    mode: Mode = "default"
    total: int = 0
    failed: int = 0
    with_feedback: int = 0
    put_right: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    tools: Tally = field(default_factory=Tally)
    tools_failed: Tally = field(default_factory=Tally)
    steps: Counter[int] = field(default_factory=Counter)
    steps_failed: Counter[int] = field(default_factory=Counter)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    groups_lost: int = 0
    agreement: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    unknown_tools: Tally = field(default_factory=Tally)
    unknown_arguments: Tally = field(default_factory=Tally)

    def add(self, trajectory: Trajectory, readings: Sequence[CallReading], place: str) -> None:
        """Take in the calls of one trajectory; `place` says in examples where it stands."""
        sites = list(trajectory.call_sites())
        steps = {position: step for step, position in enumerate(dict.fromkeys(site.message for site in sites), 1)}
        broken = {reading.message for reading in readings if reading.failed}
        for site, reading in zip(sites, readings, strict=True):
            self._count(site, reading, steps[site.message])
            faults = [] if self._sound(reading) else schema_faults(site.call, trajectory.tools)
            self._compare_readers(trajectory, site, reading, bool(faults))
            if reading.failed:
                self._add_failure(trajectory, site, reading, faults, place, steps[site.message])
                later = [position for position in steps if position > site.message]
                self.put_right += bool(later) and later[0] not in broken

    def _sound(self, reading: CallReading) -> bool:
        """Whether the schema reader looked at the call and found nothing."""
        return self.mode == "default" and reading.schema is None

    def _count(self, site: CallSite, reading: CallReading, step: int) -> None:
        self.total += 1
        self.failed += reading.failed
        self.with_feedback += site.feedback is not None
        self.tools.add(site.call.name)
        self.steps[step] += 1
        if reading.failed:
            self.tools_failed.add(site.call.name)
            self.steps_failed[step] += 1

    def _compare_readers(self, trajectory: Trajectory, site: CallSite, reading: CallReading, faulty: bool) -> None:
        """Only where both can read: there is feedback, and a specification that was not itself read off the calls."""
        if site.feedback is not None and trajectory.tools and not any(tool.inferred for tool in trajectory.tools):
            self.agreement[faulty, reading.feedback is not None] += 1

    def _add_failure(
        self,
        trajectory: Trajectory,
        site: CallSite,
        reading: CallReading,
        faults: list[SchemaFault],
        place: str,
        step: int,
    ) -> None:
        feedback = "" if site.feedback is None else site.feedback.content or ""
        category = faults[0].category if faults else "execution" if reading.feedback else "labelled"
        self.categories[category] += 1
        self.faults.update({fault.category for fault in faults})
        self._note_unknown_names(trajectory, site, {fault.category for fault in faults})
        pattern = feedback_pattern(feedback, reading.feedback or "") if category == "execution" else ""
        wording = fault_pattern(faults[0].message) if faults else reading.feedback or ""
        group = self._group(category, pattern)
        if group is None:
            return
        group.count += 1
        group.wordings.add(wording)
        arguments = _text(site.call.arguments)
        key = digest(site.call.name, arguments, feedback)
        if group.sample.wants(key):
            reason = faults[0].message if faults else reading.reason or ""
            group.sample.add(key, _example(trajectory, site, reason, arguments, feedback, place, step))

    def _group(self, category: str, pattern: str) -> Group | None:
        if (category, pattern) not in self.groups and len(self.groups) >= MAX_GROUPS:
            self.groups_lost += 1
            return None
        return self.groups.setdefault((category, pattern), Group())

    def _note_unknown_names(self, trajectory: Trajectory, site: CallSite, faults: set[str]) -> None:
        name, arguments = site.call.name, site.call.arguments
        if "unknown_tool" in faults:
            self.unknown_tools.add((name, _meant(name, tuple(tool.name for tool in trajectory.tools))))
        if "unknown_argument" in faults and isinstance(arguments, dict):
            given = next(tuple(tool.properties) for tool in trajectory.tools if tool.name == name)
            for unknown in arguments.keys() - set(given):
                self.unknown_arguments.add((name, unknown, _meant(unknown, given)))

    def merge(self, later: CallStatistics) -> None:
        """Take in the counts of the part of the data that follows."""
        for name in ("total", "failed", "with_feedback", "put_right", "groups_lost"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for name in ("categories", "faults", "steps", "steps_failed", "agreement"):
            getattr(self, name).update(getattr(later, name))
        for name in ("tools", "tools_failed", "unknown_tools", "unknown_arguments"):
            getattr(self, name).merge(getattr(later, name))
        for key, group in later.groups.items():
            mine = self._group(*key)
            if mine is not None:
                mine.merge(group)

    def to_json(self) -> dict[str, Any]:
        """The `calls` part of an audit (see `statistics.audit`)."""
        categories = {name: self.categories[name] for name in CATEGORIES}
        return {
            "total": self.total,
            "failed": self.failed,
            "share": share(self.failed, self.total),
            "with_feedback": self.with_feedback,
            "put_right": self.put_right,
            "by_category": categories,
            "any_fault": {name: self.faults[name] for name in CATEGORIES if name not in ("execution", "labelled")},
            "by_tool": self._by_tool(),
            "tools": len(self.tools.counts),
            "by_step": [
                {
                    "step": step,
                    "calls": count,
                    "failed": self.steps_failed[step],
                    "share": share(self.steps_failed[step], count),
                }
                for step, count in sorted(self.steps.items())
            ],
            "failures": self._failures(),
            "unknown_tools": _rows(self.unknown_tools, ("name", "nearest")),
            "unknown_arguments": _rows(self.unknown_arguments, ("tool", "name", "nearest")),
        }

    def _by_tool(self) -> list[dict[str, Any]]:
        failed = self.tools_failed.counts
        return [
            {"tool": name, "calls": calls, "failed": failed.get(name, 0), "share": share(failed.get(name, 0), calls)}
            for name, calls in self.tools.common(TOOLS_SHOWN)
        ]

    def _failures(self) -> dict[str, Any]:
        ordered = sorted(self.groups.items(), key=lambda item: (-item[1].count, item[0]))
        rows = [
            {
                "category": category,
                "pattern": pattern or CATEGORIES[category],
                "count": group.count,
                "share": share(group.count, self.failed),
                "wordings": [{"text": text, "count": count} for text, count in group.wordings.common(5)],
                "examples": group.sample.values(),
            }
            for (category, pattern), group in ordered[:GROUPS_SHOWN]
        ]
        rest = sum(group.count for _, group in ordered[GROUPS_SHOWN:]) + self.groups_lost
        return {"kinds": len(ordered), "shown": rows, "rest": rest}

    def readers_json(self) -> dict[str, Any]:
        """The `readers` part of an audit: the 2x2 table, agreement, and Cohen's kappa (None where undefined)."""
        both, schema = self.agreement[True, True], self.agreement[True, False]
        feedback, neither = self.agreement[False, True], self.agreement[False, False]
        number = both + schema + feedback + neither
        return {
            "read_by_both": number,
            "both_failed": both,
            "schema_only": schema,
            "feedback_only": feedback,
            "neither": neither,
            "agreement": share(both + neither, number),
            "kappa": kappa(both, schema, feedback, neither),
        }


def kappa(both: int, first: int, second: int, neither: int) -> float | None:
    """Cohen's kappa of two yes/no readers: agreement beyond chance, 1 at most; None where chance explains all."""
    number = both + first + second + neither
    if not number:
        return None
    yes_first, yes_second = both + first, both + second
    chance = (yes_first * yes_second + (number - yes_first) * (number - yes_second)) / number**2
    return None if chance == 1 else round(((both + neither) / number - chance) / (1 - chance), 4)


@lru_cache(maxsize=20_000)
def _meant(name: str, given: tuple[str, ...]) -> str | None:
    return nearest(name, given)


def _rows(tally: Tally, names: Sequence[str]) -> list[dict[str, Any]]:
    return [{**dict(zip(names, key, strict=True)), "count": count} for key, count in tally.common(50)]


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _example(
    trajectory: Trajectory, site: CallSite, reason: str, arguments: str, feedback: str, place: str, step: int
) -> dict[str, Any]:
    asked = [message.content for message in trajectory.messages[: site.message] if message.role == "user"]
    return {
        "place": place,
        "step": step,
        "query": shorten((asked[-1] if asked else None) or "", 300),
        "tool": shorten(site.call.name, 120),
        "arguments": shorten(arguments, 500),
        "reason": shorten(reason, 300),
        "feedback": shorten(feedback, 600),
    }
