"""Compares a predicted reply with gold replies: the reward, TS, PI and CF, and what is wrong (the paper's IRM).

`judge` is the only judge: PPO's reward, the evaluation and the error analyses all call it. It does not depend on where
a prediction comes from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import sqrt
from typing import Any

from tltrain.dialects import Parsed
from tltrain.errors import DataError
from tltrain.json_schema import Scope, property_names
from tltrain.judging.equality import same_value
from tltrain.judging.matching import best_matching
from tltrain.judging.rewards import CATEGORIES, REWARDS, reward_in_hundredths
from tltrain.trajectory import Arguments, Call, Tool

_METRICS = ("TS", "PI", "CF")
"""Tool selection, parameter identification (argument names), content filling (argument values); see `Verdict`."""


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """A predicted call and the gold call it was matched with, as indices into the two replies; None if unmatched."""

    finding: str
    prediction: int | None
    gold: int | None
    _: KW_ONLY
    hallucinated: tuple[str, ...] = ()
    redundant: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def reward(self) -> float:
        """The reward of the finding, from `REWARDS`."""
        return REWARDS[self.finding].reward

    def to_json(self) -> dict[str, Any]:
        """All fields and the reward."""
        return {
            "finding": self.finding,
            "prediction": self.prediction,
            "gold": self.gold,
            "hallucinated": self.hallucinated,
            "redundant": self.redundant,
            "missing": self.missing,
            "reward": self.reward,
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of calls with the right tool (TS), the right argument names too (PI), and the right values too (CF).

    `n` is their maximum: the larger of the numbers of predicted and gold calls.
    """

    n: int
    TS: int
    PI: int
    CF: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judged reply. CF implies PI implies TS; `reward` is in [-2, 1], and is 1 exactly if CF holds.

    `gold` is the index of the gold reply with the best reward, `calls` are matched with that reply, and `finding` is
    the finding of the lowest reward among them. TS and PI hold if they hold for any gold reply. The right tool with
    three kinds of wrong argument names has a lower reward than a wrong tool, so in rare replies the best matching
    contains `tool_wrong` although TS holds.
    """

    reward: float
    TS: bool
    PI: bool
    CF: bool
    finding: str
    gold: int
    calls: tuple[CallVerdict, ...]
    counts: Counts

    @property
    def category(self) -> str:
        """The category of the finding, an element of `CATEGORIES`."""
        return REWARDS[self.finding].category

    def to_json(self) -> dict[str, Any]:
        """All fields, `category`, and the reward of each call."""
        return {
            "reward": self.reward,
            **{name: getattr(self, name) for name in _METRICS},
            "finding": self.finding,
            "gold": self.gold,
            "calls": [call.to_json() for call in self.calls],
            "counts": {"n": self.counts.n, **{name: getattr(self.counts, name) for name in _METRICS}},
            "category": self.category,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Percentages (0-100) of `n` items with TS, PI and CF, and their binomial standard errors; all 0 if `n` is 0."""

    n: int
    TS: float
    PI: float
    CF: float
    se: dict[str, float]
    errors: dict[str, int]
    """Number of items by category of error; categories without items are omitted."""
    calls: Counts
    """Sums over the calls of all items."""


def judge(prediction: Parsed | Sequence[Call], golds: Sequence[Sequence[Call]], tools: Sequence[Tool]) -> Verdict:
    """Compares a predicted reply with each gold reply and returns the verdict of the best reward (the first, if equal).

    Args:
        prediction: the calls of the reply, or the parsed reply.
        golds: acceptable replies, each a sequence of calls; a gold reply without calls is an empty sequence.
        tools: the tools the model was given. Tools and argument names that occur in a gold reply are not hallucinated
            either, whether they are listed or not.

    Raises:
        DataError: there is no gold reply, or a gold reply or the prediction is not a sequence of calls.
    """
    _check_replies(prediction, golds)
    if not isinstance(prediction, Parsed):
        prediction = Parsed(tuple(prediction), "")
    allowed = _Allowed(tools, golds)
    verdicts = [_judge_against(prediction, gold, number, allowed) for number, gold in enumerate(golds)]
    if len(verdicts) == 1:
        return verdicts[0]
    best = max(verdicts, key=lambda verdict: verdict.reward)
    return Verdict(
        reward=best.reward,
        TS=any(verdict.TS for verdict in verdicts),
        PI=any(verdict.PI for verdict in verdicts),
        CF=best.CF,
        finding=best.finding,
        gold=best.gold,
        calls=best.calls,
        counts=best.counts,
    )


def _check_replies(prediction: Any, golds: Any) -> None:
    """Refuses calls in place of replies: `golds=[Call(…)]` is a likely slip for `golds=[[Call(…)]]`."""
    if isinstance(golds, (str, Call, Parsed)) or not isinstance(golds, Sequence):
        raise DataError(f"golds: expected a list of gold replies, each a list of calls, got {type(golds).__name__}")
    if not golds:
        raise DataError("golds: expected at least one gold reply (an empty list of calls if no call is right)")
    for index, gold in enumerate(golds):
        _check_calls(gold, f"golds[{index}]")
    if not isinstance(prediction, Parsed):
        _check_calls(prediction, "prediction")


def _check_calls(reply: Any, field: str) -> None:
    if isinstance(reply, Call):
        raise DataError(f"{field}: expected a list of calls, got a single Call: write [Call(…)]")
    if isinstance(reply, str) or not isinstance(reply, Sequence):
        raise DataError(f"{field}: expected a list of calls, got {type(reply).__name__}")
    for index, call in enumerate(reply):
        if not isinstance(call, Call):
            raise DataError(f"{field}[{index}]: expected a Call, got {type(call).__name__}")


def summarize(verdicts: Iterable[Verdict]) -> Scores:
    """TS, PI and CF in per cent of the items, with counts and standard errors."""
    verdicts = list(verdicts)
    n = len(verdicts)
    counts = [verdict.counts for verdict in verdicts]
    held = {name: sum(getattr(verdict, name) for verdict in verdicts) for name in _METRICS}
    found = Counter(verdict.category for verdict in verdicts)
    return Scores(
        n=n,
        **{name: 100 * (held[name] / max(n, 1)) for name in _METRICS},
        se={name: standard_error(held[name], n) or 0.0 for name in _METRICS},
        errors={category: found[category] for category in CATEGORIES if category != "right" and found[category]},
        calls=Counts(*(sum(getattr(count, name) for count in counts) for name in ("n", *_METRICS))),
    )


def standard_error(held: int, of: int) -> float | None:
    """The binomial standard error of `held` items out of `of` as a percentage, in points; None of nothing."""
    return 100 * sqrt(held / of * (1 - held / of) / of) if of else None


class _Allowed:
    """The tools and argument names a prediction may use. Schemas are read on first use: most are never needed."""

    def __init__(self, tools: Sequence[Tool], golds: Sequence[Sequence[Call]]) -> None:
        self.golds = [call for gold in golds for call in gold]
        self._schemas: dict[str, list[Scope]] = {}
        self._arguments: dict[str, set[str]] = {}
        for tool in tools:
            self._schemas.setdefault(tool.name, []).append((tool.parameters, tool.parameters))

    def schemas(self, name: str) -> list[Scope]:
        """The schemas of a tool: several if its name is listed more than once."""
        return self._schemas.get(name, [])

    def has_tool(self, name: str) -> bool:
        """Whether a tool of that name is listed or used by a gold reply."""
        return name in self._schemas or any(call.name == name for call in self.golds)

    def arguments(self, name: str) -> set[str]:
        """The names of a tool's arguments: those declared and those used by a gold reply."""
        if name not in self._arguments:
            names = property_names(self.schemas(name))
            self._arguments[name] = names.union(*(_names(call.arguments) for call in self.golds if call.name == name))
        return self._arguments[name]


def _judge_against(prediction: Parsed, gold: Sequence[Call], number: int, allowed: _Allowed) -> Verdict:
    calls = _compare_replies(prediction, gold, allowed)
    findings = [call.finding for call in calls]
    without_calls = "format" if prediction.broken else "right"
    counts = _count(prediction, gold, calls)
    return Verdict(
        # A sum of integers does not depend on the order of the calls; a sum of floats can.
        reward=sum(map(reward_in_hundredths, findings)) / 100 / len(calls) if calls else REWARDS[without_calls].reward,
        TS=not prediction.broken and counts.n == counts.TS,
        PI=not prediction.broken and counts.n == counts.PI,
        CF=not prediction.broken and counts.n == counts.CF,
        finding=min(findings, key=reward_in_hundredths, default=without_calls),
        gold=number,
        calls=calls,
        counts=counts,
    )


def _count(prediction: Parsed, gold: Sequence[Call], calls: Sequence[CallVerdict]) -> Counts:
    """TS and PI compare multisets of tools and of argument names, so they depend on neither order nor matching."""
    unreadable = {call.prediction for call in calls if call.finding == "format"}
    readable = () if prediction.broken else prediction.calls
    predicted = [call for index, call in enumerate(readable) if index not in unreadable]
    names = _intersection_size((call.name for call in predicted), (call.name for call in gold))
    uses = _intersection_size(map(_name_and_arguments, predicted), map(_name_and_arguments, gold)) if names else 0
    right = sum(call.finding == "right" for call in calls)
    return Counts(len(calls), names, uses, right)


def _intersection_size(predicted: Iterable[Hashable], gold: Iterable[Hashable]) -> int:
    """The size of the intersection of two multisets."""
    remaining, common = Counter(gold), 0
    for item in predicted:
        if remaining[item] > 0:
            remaining[item] -= 1
            common += 1
    return common


def _name_and_arguments(call: Call) -> tuple[str, frozenset[str] | str]:
    """The tool and its argument names; the arguments' text if it is not a JSON object."""
    return call.name, call.arguments if isinstance(call.arguments, str) else frozenset(call.arguments)


def _compare_replies(prediction: Parsed, gold: Sequence[Call], allowed: _Allowed) -> tuple[CallVerdict, ...]:
    """A verdict for each pair of the best matching and each unmatched call; none if neither reply has calls."""
    if prediction.broken or not prediction.calls:
        finding = "format" if prediction.broken else "not_a_call"
        return tuple(CallVerdict(finding, None, index) for index in range(len(gold)))
    if not gold:
        readable = all(isinstance(call.arguments, dict) for call in prediction.calls)
        finding = "call_unwanted" if readable else "format"
        return tuple(CallVerdict(finding, index, None) for index in range(len(prediction.calls)))
    table = [
        [_compare_calls(call, wanted, row, column, allowed) for column, wanted in enumerate(gold)]
        for row, call in enumerate(prediction.calls)
    ]
    pairs = best_matching([[reward_in_hundredths(verdict.finding) for verdict in row] for row in table])
    extra = set(range(len(prediction.calls))) - {row for row, _ in pairs}
    lacking = set(range(len(gold))) - {column for _, column in pairs}
    return (
        *(table[row][column] for row, column in pairs),
        *(CallVerdict("call_extra", row, None) for row in sorted(extra)),
        *(CallVerdict("call_lacking", None, column) for column in sorted(lacking)),
    )


def _compare_calls(call: Call, gold: Call, row: int, column: int, allowed: _Allowed) -> CallVerdict:
    """The verdict on a pair of calls."""
    same_tool = call.name == gold.name
    if same_tool and same_value(call.arguments, gold.arguments, allowed.schemas(gold.name)):
        return CallVerdict("right", row, column)
    if not isinstance(call.arguments, dict):
        return CallVerdict("format", row, column)
    if not same_tool:
        return CallVerdict("tool_wrong" if allowed.has_tool(call.name) else "tool_hallucinated", row, column)
    used, wanted = _names(call.arguments), _names(gold.arguments)
    if used == wanted:
        return CallVerdict("value", row, column)
    given = allowed.arguments(call.name)
    wrong = {
        "hallucinated": tuple(sorted(used - given)),
        "redundant": tuple(sorted((used - wanted) & given)),
        "missing": tuple(sorted(wanted - used)),
    }
    kinds = [kind for kind, names in wrong.items() if names]
    return CallVerdict("_".join(["arguments", *kinds]), row, column, **wrong)


def _names(arguments: Arguments) -> frozenset[str]:
    return frozenset(arguments) if isinstance(arguments, dict) else frozenset()
