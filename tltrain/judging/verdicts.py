"""One comparison of a prediction with golds and tools: the reward, TS, PI and CF, and what was wrong (method, IRM).

Reward, evaluation and the error analyses all ask `judge`. It knows nothing of where a prediction came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

from tltrain.dialects import Parsed
from tltrain.errors import DataError
from tltrain.json_schema import Scope, property_names
from tltrain.judging.equality import ANY, same_value
from tltrain.judging.matching import best_matching
from tltrain.trajectory import Arguments, Call, Tool

__all__ = ["ANY", "CATEGORIES", "ROWS", "CallVerdict", "Counts", "Scores", "Verdict", "judge", "summarize"]


class Row(NamedTuple):
    """What a finding is worth, and the coarse group it is counted in."""

    reward: float
    category: str


ROWS = {
    "right": Row(1.0, "right"),
    "not_a_call": Row(-2.0, "missing_call"),
    "format": Row(-2.0, "format"),
    "tool_hallucinated": Row(-2.0, "tool_hallucinated"),
    "tool_wrong": Row(-1.5, "tool_wrong"),
    "arguments_hallucinated_redundant_missing": Row(-1.8, "argument_hallucinated"),
    "arguments_hallucinated_redundant": Row(-1.3, "argument_hallucinated"),
    "arguments_hallucinated_missing": Row(-1.3, "argument_hallucinated"),
    "arguments_redundant_missing": Row(-1.0, "argument_missing"),
    "arguments_hallucinated": Row(-0.8, "argument_hallucinated"),
    "arguments_redundant": Row(-0.5, "argument_redundant"),
    "arguments_missing": Row(-0.5, "argument_missing"),
    "value": Row(-0.25, "value"),
    "call_extra": Row(-2.0, "unwanted_call"),
    "call_lacking": Row(-1.5, "missing_call"),
    "call_unwanted": Row(-1.5, "unwanted_call"),
}
"""The reward table by finding. `not_a_call`: calls are wanted, the reply has none. `format`: call markup that cannot be
read, or cut. `call_extra`, `call_lacking`: a predicted or a gold call too many in replies that both have calls.
`call_unwanted`: a call where the gold reply has none. With several kinds of wrong argument names, the category is
the first of hallucinated, missing, redundant."""
_METRICS = ("TS", "PI", "CF")
CATEGORIES = tuple(dict.fromkeys(row.category for row in ROWS.values()))


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """A predicted call beside the gold call it was matched with: indices into the two replies, None for no partner."""

    finding: str
    prediction: int | None
    gold: int | None
    hallucinated: tuple[str, ...] = ()
    redundant: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def reward(self) -> float:
        """What the finding is worth."""
        return ROWS[self.finding].reward

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
    """How many calls were right in tool, names, and values, of `n` (the larger number of predicted and gold calls)."""

    n: int
    TS: int
    PI: int
    CF: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judged reply. CF implies PI implies TS; `reward` lies in [-2, 1] and is 1 exactly where CF holds.

    `finding` is the row of the worst of `calls`, those matched with the gold (number `gold`) of the best reward.
    TS and PI hold where they do for any gold. As a right tool with three kinds of wrong names is worth less than a
    wrong tool, best matches can show `tool_wrong` beside TS, in rare replies.
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
        """The coarse group of the finding, one of `CATEGORIES`."""
        return ROWS[self.finding].category

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


@dataclass(frozen=True, slots=True)
class Scores:
    """Per cent (0-100) of `n` items with TS, PI and CF, with binomial standard errors; all 0 where `n` is 0."""

    n: int
    TS: float
    PI: float
    CF: float
    se: dict[str, float]
    errors: dict[str, int]
    """Items by category of error; categories that do not occur are left out."""
    calls: Counts
    """The single calls of all items."""


def judge(prediction: Parsed | Sequence[Call], golds: Sequence[Sequence[Call]], tools: Sequence[Tool]) -> Verdict:
    """Compares a reply with each gold reply; the best reward counts, the first gold's where several are as good.

    A gold reply without calls is an empty sequence. Given tools and argument names are those listed and those that
    golds use. Raises DataError where there is no gold.
    """
    if not golds:
        raise DataError("nothing to judge with: an item needs at least one gold reply (an empty one for no call)")
    if not isinstance(prediction, Parsed):
        prediction = Parsed(tuple(prediction), "")
    known = _Known(tools, golds)
    verdicts = [_judge_one(prediction, gold, number, known) for number, gold in enumerate(golds)]
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


def summarize(verdicts: Iterable[Verdict]) -> Scores:
    """TS, PI and CF over items, with counts and standard errors."""
    verdicts = list(verdicts)
    n = len(verdicts)
    counts = [verdict.counts for verdict in verdicts]
    share = {name: sum(getattr(verdict, name) for verdict in verdicts) / max(n, 1) for name in _METRICS}
    found = Counter(verdict.category for verdict in verdicts)
    return Scores(
        n=n,
        **{name: 100 * share[name] for name in _METRICS},
        se={name: 100 * sqrt(share[name] * (1 - share[name]) / max(n, 1)) for name in _METRICS},
        errors={category: found[category] for category in CATEGORIES if category != "right" and found[category]},
        calls=Counts(*(sum(getattr(count, name) for count in counts) for name in ("n", *_METRICS))),
    )


class _Known:
    """What a prediction may use. Each tool's schema is looked at when it is asked for: most never are."""

    def __init__(self, tools: Sequence[Tool], golds: Sequence[Sequence[Call]]) -> None:
        self.golds = [call for gold in golds for call in gold]
        self._schemas: dict[str, list[Scope]] = {}
        self._arguments: dict[str, set[str]] = {}
        for tool in tools:
            self._schemas.setdefault(tool.name, []).append((tool.parameters, tool.parameters))

    def schemas(self, name: str) -> list[Scope]:
        """The schemas of a tool, several where its name is listed twice."""
        return self._schemas.get(name, [])

    def gives(self, name: str) -> bool:
        """Whether there is a tool of that name: a listed one, or one that a gold uses."""
        return name in self._schemas or any(call.name == name for call in self.golds)

    def arguments(self, name: str) -> set[str]:
        """The names of a tool's arguments: those declared, and those that golds use."""
        if name not in self._arguments:
            names = property_names(self.schemas(name))
            self._arguments[name] = names.union(*(_names(call.arguments) for call in self.golds if call.name == name))
        return self._arguments[name]


def _judge_one(prediction: Parsed, gold: Sequence[Call], number: int, known: _Known) -> Verdict:
    calls = _compare_replies(prediction, gold, known)
    findings = [call.finding for call in calls]
    nothing = "format" if prediction.broken else "right"
    counts = _count(prediction, gold, calls)
    return Verdict(
        # Added as whole hundredths, so that the sum does not depend on the order of the calls.
        reward=sum(map(_worth, findings)) / 100 / len(calls) if calls else ROWS[nothing].reward,
        TS=not prediction.broken and counts.n == counts.TS,
        PI=not prediction.broken and counts.n == counts.PI,
        CF=not prediction.broken and counts.n == counts.CF,
        finding=min(findings, key=_worth, default=nothing),
        gold=number,
        calls=calls,
        counts=counts,
    )


def _count(prediction: Parsed, gold: Sequence[Call], calls: Sequence[CallVerdict]) -> Counts:
    """Tools, and tools with their argument names, are compared as multisets, which depend on no order or matching."""
    unreadable = {call.prediction for call in calls if call.finding == "format"}
    readable = () if prediction.broken else prediction.calls
    predicted = [call for index, call in enumerate(readable) if index not in unreadable]
    names = _common((call.name for call in predicted), (call.name for call in gold))
    uses = _common(map(_use, predicted), map(_use, gold)) if names else 0
    right = sum(call.finding == "right" for call in calls)
    return Counts(len(calls), names, uses, right)


def _common(predicted: Iterable[Hashable], gold: Iterable[Hashable]) -> int:
    """The size of the two multisets' intersection."""
    left, common = Counter(gold), 0
    for item in predicted:
        if left[item] > 0:
            left[item] -= 1
            common += 1
    return common


def _use(call: Call) -> tuple[str, frozenset[str] | str]:
    """The tool and the names of the arguments; their text where it is no JSON object."""
    return call.name, call.arguments if isinstance(call.arguments, str) else frozenset(call.arguments)


def _compare_replies(prediction: Parsed, gold: Sequence[Call], known: _Known) -> tuple[CallVerdict, ...]:
    """One verdict for each pair of the best matching and each call left over; none where neither reply has calls."""
    if prediction.broken or not prediction.calls:
        finding = "format" if prediction.broken else "not_a_call"
        return tuple(CallVerdict(finding, None, index) for index in range(len(gold)))
    if not gold:
        readable = all(isinstance(call.arguments, dict) for call in prediction.calls)
        finding = "call_unwanted" if readable else "format"
        return tuple(CallVerdict(finding, index, None) for index in range(len(prediction.calls)))
    table = [
        [_compare_calls(call, wanted, row, column, known) for column, wanted in enumerate(gold)]
        for row, call in enumerate(prediction.calls)
    ]
    pairs = best_matching([[_worth(verdict.finding) for verdict in row] for row in table])
    extra = set(range(len(prediction.calls))) - {row for row, _ in pairs}
    lacking = set(range(len(gold))) - {column for _, column in pairs}
    return (
        *(table[row][column] for row, column in pairs),
        *(CallVerdict("call_extra", row, None) for row in sorted(extra)),
        *(CallVerdict("call_lacking", None, column) for column in sorted(lacking)),
    )


def _compare_calls(call: Call, gold: Call, row: int, column: int, known: _Known) -> CallVerdict:
    """The first row of the table that applies."""
    same_tool = call.name == gold.name
    if same_tool and same_value(call.arguments, gold.arguments, known.schemas(gold.name)):
        return CallVerdict("right", row, column)
    if not isinstance(call.arguments, dict):
        return CallVerdict("format", row, column)
    if not same_tool:
        return CallVerdict("tool_wrong" if known.gives(call.name) else "tool_hallucinated", row, column)
    used, wanted = _names(call.arguments), _names(gold.arguments)
    if used == wanted:
        return CallVerdict("value", row, column)
    given = known.arguments(call.name)
    wrong = {
        "hallucinated": tuple(sorted(used - given)),
        "redundant": tuple(sorted((used - wanted) & given)),
        "missing": tuple(sorted(wanted - used)),
    }
    kinds = [kind for kind, names in wrong.items() if names]
    return CallVerdict("_".join(["arguments", *kinds]), row, column, **wrong)


_HUNDREDTHS = {finding: round(100 * row.reward) for finding, row in ROWS.items()}
_worth = _HUNDREDTHS.__getitem__
"""The reward in hundredths, exact."""


def _names(arguments: Arguments) -> frozenset[str]:
    return frozenset(arguments) if isinstance(arguments, dict) else frozenset()
