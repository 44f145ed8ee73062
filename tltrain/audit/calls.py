"""Statistics over calls: failure categories, tools, steps, and the commonest failures with examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import Any

from tltrain.audit.confusable import nearest
from tltrain.audit.counting import Sample, Tally, digest, share, shorten
from tltrain.audit.failure_detectors import CallAssessment
from tltrain.audit.feedback import Mode
from tltrain.audit.patterns import fault_pattern, feedback_pattern
from tltrain.audit.schema import SchemaFault, schema_faults
from tltrain.trajectory import CallSite, Trajectory

CATEGORIES = {
    "unknown_tool": "a tool that was not given",
    "not_an_object": "arguments that are not a JSON object",
    "unknown_argument": "an argument that the tool does not have",
    "missing_argument": "a required argument left out",
    "bad_value": "a value that the tool cannot take",
    "execution": "failed when executed",
    "labelled": "labelled as failed in the data",
}
"""The categories of failed calls, the most severe first; a call counts in the first that applies."""
_FORM_CATEGORIES = tuple(name for name in CATEGORIES if name not in ("execution", "labelled"))
MAX_GROUPS = 3_000
GROUPS_SHOWN = 20
TOOLS_SHOWN = 500
EXAMPLES = 3


@dataclass
class FailureGroup:
    """Failures of one kind: their number, a few examples, and the commonest messages."""

    count: int = 0
    sample: Sample = field(default_factory=lambda: Sample(EXAMPLES))
    wordings: Tally = field(default_factory=lambda: Tally(500))

    def merge(self, later: FailureGroup) -> None:
        """Add the failures of the same kind from another part of the data."""
        self.count += later.count
        self.sample.merge(later.sample)
        self.wordings.merge(later.wordings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AssessedCall:
    """A call with everything that the statistics need to know about it."""

    trajectory: Trajectory
    site: CallSite
    assessment: CallAssessment
    faults: list[SchemaFault]
    location: str
    step: int

    @property
    def feedback(self) -> str:
        return "" if self.site.feedback is None else self.site.feedback.content or ""

    @property
    def arguments(self) -> str:
        arguments = self.site.call.arguments
        return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)

    @property
    def category(self) -> str:
        if self.faults:
            return self.faults[0].category
        return "execution" if self.assessment.feedback_reason else "labelled"

    @property
    def reason(self) -> str:
        return self.faults[0].message if self.faults else self.assessment.reason or ""

    def example(self) -> dict[str, Any]:
        """The call as `audit.json` shows it."""
        earlier = self.trajectory.messages[: self.site.message]
        queries = [message.content for message in earlier if message.role == "user"]
        return {
            "place": self.location,
            "step": self.step,
            "query": shorten((queries[-1] if queries else None) or "", 300),
            "tool": shorten(self.site.call.name, 120),
            "arguments": shorten(self.arguments, 500),
            "reason": shorten(self.reason, 300),
            "feedback": shorten(self.feedback, 600),
        }


@dataclass
class CallStatistics:
    """Counts over the calls of a data set. `agreement` counts (schema detector, feedback detector) results."""

    mode: Mode = "default"
    _: KW_ONLY
    total: int = 0
    failed: int = 0
    with_feedback: int = 0
    recovered: int = 0
    form_not_judged: int = 0
    not_judged: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    tools: Tally = field(default_factory=Tally)
    tools_failed: Tally = field(default_factory=Tally)
    steps: Counter[int] = field(default_factory=Counter)
    steps_failed: Counter[int] = field(default_factory=Counter)
    groups: dict[tuple[str, str], FailureGroup] = field(default_factory=dict)
    groups_lost: int = 0
    agreement: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    unknown_tools: Tally = field(default_factory=Tally)
    unknown_arguments: Tally = field(default_factory=Tally)

    def add(self, trajectory: Trajectory, assessments: Sequence[CallAssessment], location: str) -> None:
        """Count the calls of one trajectory; `location` identifies it in examples."""
        sites = list(trajectory.call_sites())
        steps = {message: step for step, message in enumerate(dict.fromkeys(site.message for site in sites), 1)}
        failed_replies = {assessment.message for assessment in assessments if assessment.failed}
        for site, assessment in zip(sites, assessments, strict=True):
            # In paper mode the schema detector has not run yet, but its faults are needed for the categories.
            known_faultless = self.mode == "default" and assessment.schema_reason is None
            faults = [] if known_faultless else schema_faults(site.call, trajectory.tools)
            call = _AssessedCall(
                trajectory=trajectory,
                site=site,
                assessment=assessment,
                faults=faults,
                location=location,
                step=steps[site.message],
            )
            self._count(call)
            self._compare_detectors(call)
            if assessment.failed:
                self._add_failure(call)
                later = [message for message in steps if message > site.message]
                self.recovered += bool(later) and later[0] not in failed_replies

    def _count(self, call: _AssessedCall) -> None:
        name, assessment = call.site.call.name, call.assessment
        self.total += 1
        self.failed += assessment.failed
        self.with_feedback += call.site.feedback is not None
        if self.mode == "default" and assessment.tool_inferred and assessment.schema_reason is None:
            self.form_not_judged += 1
            self.not_judged += call.site.feedback is None and assessment.label is None
        self.tools.add(name)
        self.steps[call.step] += 1
        if assessment.failed:
            self.tools_failed.add(name)
            self.steps_failed[call.step] += 1

    def _compare_detectors(self, call: _AssessedCall) -> None:
        """Count calls that both detectors can assess: with feedback, and with a specification that was not inferred."""
        tools = call.trajectory.tools
        if call.site.feedback is not None and tools and not any(tool.inferred for tool in tools):
            self.agreement[bool(call.faults), call.assessment.feedback_reason is not None] += 1

    def _add_failure(self, call: _AssessedCall) -> None:
        kinds: set[str] = {fault.category for fault in call.faults}
        self.categories[call.category] += 1
        self.faults.update(kinds)
        self._count_unknown_names(call, kinds)
        reported = call.assessment.feedback_reason or ""
        pattern = feedback_pattern(call.feedback, reported) if call.category == "execution" else ""
        group = self._group(call.category, pattern)
        if group is None:
            return
        group.count += 1
        group.wordings.add(fault_pattern(call.faults[0].message) if call.faults else reported)
        key = digest(call.site.call.name, call.arguments, call.feedback)
        if group.sample.wants(key):
            group.sample.add(key, call.example())

    def _group(self, category: str, pattern: str) -> FailureGroup | None:
        if (category, pattern) not in self.groups and len(self.groups) >= MAX_GROUPS:
            self.groups_lost += 1
            return None
        return self.groups.setdefault((category, pattern), FailureGroup())

    def _count_unknown_names(self, call: _AssessedCall, kinds: set[str]) -> None:
        name, arguments, tools = call.site.call.name, call.site.call.arguments, call.trajectory.tools
        if "unknown_tool" in kinds:
            self.unknown_tools.add((name, _nearest(name, tuple(tool.name for tool in tools))))
        if "unknown_argument" in kinds and isinstance(arguments, dict):
            declared = next(tuple(tool.properties) for tool in tools if tool.name == name)
            for unknown in arguments.keys() - set(declared):
                self.unknown_arguments.add((name, unknown, _nearest(unknown, declared)))

    def merge(self, later: CallStatistics) -> None:
        """Add the counts of the part of the data that follows."""
        self.total += later.total
        self.failed += later.failed
        self.with_feedback += later.with_feedback
        self.recovered += later.recovered
        self.form_not_judged += later.form_not_judged
        self.not_judged += later.not_judged
        self.groups_lost += later.groups_lost
        self.categories.update(later.categories)
        self.faults.update(later.faults)
        self.steps.update(later.steps)
        self.steps_failed.update(later.steps_failed)
        self.agreement.update(later.agreement)
        self.tools.merge(later.tools)
        self.tools_failed.merge(later.tools_failed)
        self.unknown_tools.merge(later.unknown_tools)
        self.unknown_arguments.merge(later.unknown_arguments)
        for key, group in later.groups.items():
            mine = self._group(*key)
            if mine is not None:
                mine.merge(group)

    def to_json(self) -> dict[str, Any]:
        """The `calls` part of an audit (see `run.audit`)."""
        categories = {name: self.categories[name] for name in CATEGORIES}
        return {
            "total": self.total,
            "failed": self.failed,
            "share": share(self.failed, self.total),
            "with_feedback": self.with_feedback,
            "put_right": self.recovered,
            "form_not_judged": self.form_not_judged,
            "not_judged": self.not_judged,
            "by_category": categories,
            "any_fault": {name: self.faults[name] for name in _FORM_CATEGORIES},
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

    def agreement_json(self) -> dict[str, Any]:
        """The `readers` part of an audit: both detectors in a 2x2 table, agreement, Cohen's kappa (None: undefined)."""
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
    """Cohen's kappa of two binary raters, at most 1; None where the agreement expected by chance is already 1.

    The arguments are the cells of the 2x2 table: positive for both raters, for one of them only, for neither.
    """
    number = both + first + second + neither
    if not number:
        return None
    positive_first, positive_second = both + first, both + second
    expected = (positive_first * positive_second + (number - positive_first) * (number - positive_second)) / number**2
    return None if expected == 1 else round(((both + neither) / number - expected) / (1 - expected), 4)


@lru_cache(maxsize=20_000)
def _nearest(name: str, given: tuple[str, ...]) -> str | None:
    return nearest(name, given)


def _rows(tally: Tally, names: Sequence[str]) -> list[dict[str, Any]]:
    return [{**dict(zip(names, key, strict=True)), "count": count} for key, count in tally.common(50)]
