"""What a model gets wrong on a test set, and what single tokens decide: the paper's reason for PKT, on any model.

Token importance: in each wrong call a token of the tool's name, or the name of an argument, is corrected by teacher
forcing where the model first went wrong there; the model decodes on, and the judge says whether the call became right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tltrain import dialects
from tltrain.encode import key_positions
from tltrain.evaluation.inference import Line, Local
from tltrain.evaluation.outcomes import golds_for, is_stepwise, judge_line, read_line
from tltrain.files import write_json
from tltrain.judging import Verdict, judge
from tltrain.report.analysis_page import write_analysis
from tltrain.sft import Progress, silent
from tltrain.testsets.base import Item, TestSet
from tltrain.trajectory import Call, Tool

if TYPE_CHECKING:
    from tltrain.evaluation.run import Benchmark
    from tltrain.evaluation.selection import Model

KINDS = ("first name token", "later key token", "other name token", "argument name")
"""What is corrected. Other name tokens decide between no two given tools: what PKT leaves at weight 1."""
_PROBE = "zqprobe"


@dataclass(frozen=True, slots=True)
class Trial:
    """One correction: the reply up to and with it, as ids, after which the model decodes on."""

    item: Item
    kind: str
    gold: int
    """Which of the item's acceptable replies, and of its calls, is to be reached."""
    call: int
    forced: tuple[int, ...]


def categories(test: TestSet, lines: Sequence[Line]) -> dict[str, Any]:
    """The replies to a split by what was found: coarse `categories`, and the `findings` of the judge's table."""
    items = {item.index: item for item in test.items}
    verdicts = [judge_line(test, items[line["index"]], line) for line in lines]
    return {
        "n": len(verdicts),
        "right": sum(verdict.CF for verdict in verdicts),
        "categories": dict(Counter(verdict.category for verdict in verdicts if not verdict.CF).most_common()),
        "findings": dict(Counter(verdict.finding for verdict in verdicts if not verdict.CF).most_common()),
    }


def token_importance(asker: Local, test: TestSet, lines: Sequence[Line], progress: Progress = silent) -> dict[str, Any]:
    """Counts over the wrong calls of a split.

    `wrong_calls`: calls with a gold call beside them that are not right; `unlocated`: of these, calls whose name could
    not be found in the text; `without_call`: wrong replies in which there is no call to correct.

    By kind: `calls` (wrong calls that have such a place), `corrected` (places where the model was wrong and had been
    right before, in that name), `right` (became right), and the shares of `right` in per cent of all wrong calls and of
    the corrected places. For an argument that the gold lacks a missing name is put in its place, those before it
    corrected too; where there is none such, behind the other arguments.
    """
    trials: list[Trial] = []
    counts: Counter[str] = Counter()
    items = {item.index: item for item in test.items}
    for line in lines:
        trials += _trials(asker, test, items[line["index"]], line, counts)
    right: Counter[str] = Counter()
    for done, (trial, became) in enumerate(_outcomes(asker, test, trials), 1):
        right[trial.kind] += became
        progress("corrections", done, len(trials))
    tried = Counter(trial.kind for trial in trials)
    wrong = counts["wrong_calls"]
    rows = {kind: _row(counts[kind], tried[kind], right[kind], wrong) for kind in KINDS}
    told = {name: counts[name] for name in ("wrong_calls", "unlocated", "without_call")}
    return {**told, "kinds": rows}


def _row(calls: int, corrected: int, right: int, wrong: int) -> dict[str, Any]:
    shares = {"of_wrong": 100 * right / max(wrong, 1), "of_corrected": 100 * right / max(corrected, 1)}
    return {"calls": calls, "corrected": corrected, "right": right, **shares}


def _trials(asker: Local, test: TestSet, item: Item, line: Line, counts: Counter[str]) -> Iterator[Trial]:
    """All corrections in a reply; counts its wrong calls and what they have."""
    parsed = read_line(line, item.prompt.tools)
    golds = golds_for(test, item, parsed)
    verdict = judge(parsed, golds, item.prompt.tools)
    reply = _Reply(asker, line["text"], parsed.calls, item.prompt.tools)
    counts["without_call"] += not verdict.CF and not parsed.calls
    for found in verdict.calls:
        if found.finding == "right" or found.prediction is None or found.gold is None:
            continue
        counts["wrong_calls"] += 1
        gold = golds[verdict.gold][found.gold]
        place = reply.name_place(found.prediction)
        if place is None:
            counts["unlocated"] += 1
            continue
        corrections = [*reply.name_corrections(found.prediction, place, gold)]
        corrections += reply.argument_corrections(found.prediction, gold)
        counts.update({"first name token": 1, "other name token": 1})
        counts["later key token"] += reply.has_later_key(place, found.prediction, gold)
        counts["argument name"] += bool(gold.arguments)
        for kind, forced in corrections:
            yield Trial(item, kind, verdict.gold, found.gold, tuple(forced))


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply's text and its calls; names are located by what the dialect reads with a probe in their place."""

    asker: Local
    text: str
    calls: tuple[Call, ...]
    tools: tuple[Tool, ...]

    def name_place(self, index: int) -> int | None:
        """Where in the text the name of a call stands; None where no place can be told."""
        calls = list(self.calls)
        calls[index] = replace(calls[index], name=_PROBE)
        return self._place(self.calls[index].name, calls)

    def argument_place(self, index: int, name: str) -> int | None:
        """Where an argument's name stands."""
        own = self.calls[index]
        assert isinstance(own.arguments, dict), "only arguments that were read have names"
        renamed = {_PROBE if key == name else key: value for key, value in own.arguments.items()}
        calls = list(self.calls)
        calls[index] = replace(own, arguments=renamed)
        return self._place(name, calls)

    def name_corrections(self, index: int, place: int, gold: Call) -> Iterator[tuple[str, list[int]]]:
        """The correction of the first token in which the call's name differs from the gold's, if it does."""
        own = self.calls[index].name
        if own == gold.name:
            return
        there = self._ids(self.text)
        wanted, span = self._with(place, len(own), gold.name)
        at = next((n for n, (a, b) in enumerate(zip(wanted, there, strict=False)) if a != b), len(there))
        position = at - span.start
        if position < 0 or at >= len(wanted):
            return
        yield self._kind(position, place, len(own), gold), wanted[: at + 1]

    def argument_corrections(self, index: int, gold: Call) -> Iterator[tuple[str, list[int]]]:
        """For each argument that the gold lacks a name that is missing in its place, in their orders, those before it
        corrected too, as the call could not become right otherwise; where the gold lacks none, behind them."""
        own = self.calls[index]
        if own.name != gold.name or not isinstance(own.arguments, dict) or not isinstance(gold.arguments, dict):
            return
        missing = [name for name in gold.arguments if name not in own.arguments]
        reply = self
        for name, right in zip([name for name in own.arguments if name not in gold.arguments], missing, strict=False):
            place = reply.argument_place(index, name)
            if place is None:
                break
            wanted, span = reply._with(place, len(name), right)
            yield "argument name", wanted[: span.stop]
            reply = reply._renamed(index, place, name, right)
        if missing and own.arguments.keys() <= gold.arguments.keys():
            yield from self._inserted(index, missing[0])

    def _renamed(self, index: int, place: int, name: str, right: str) -> _Reply:
        """The reply with an argument of another name in its place."""
        own = self.calls[index]
        assert isinstance(own.arguments, dict), "only arguments that were read have names"
        arguments = {right if key == name else key: value for key, value in own.arguments.items()}
        calls = (*self.calls[:index], replace(own, arguments=arguments), *self.calls[index + 1 :])
        return replace(self, text=self.text[:place] + right + self.text[place + len(name) :], calls=calls)

    def _inserted(self, index: int, name: str) -> Iterator[tuple[str, list[int]]]:
        """An argument's name behind the others, where the text is as the dialect writes it."""
        own, dialect = self.calls[index], dialects.get(self.asker.dialect)
        assert isinstance(own.arguments, dict), "only arguments that were read can be added to"
        longer = list(self.calls)
        longer[index] = replace(own, arguments={**own.arguments, name: ""})
        beside = dialect.parse(self.text, self.tools).text
        if dialect.format(self.calls, beside) != self.text:
            return
        reply = replace(self, text=dialect.format(longer, beside), calls=tuple(longer))
        place = reply.argument_place(index, name)
        if place is not None:
            wanted, span = reply._with(place, len(name), name)
            yield "argument name", wanted[: span.stop]

    def has_later_key(self, place: int, index: int, gold: Call) -> bool:
        """Whether the gold's name has a key token beside its first, among the tools of the item."""
        return len(self._keys(place, len(self.calls[index].name), gold)) > 1

    def _kind(self, position: int, place: int, length: int, gold: Call) -> str:
        if position == 0:
            return "first name token"
        return "later key token" if position in self._keys(place, length, gold) else "other name token"

    def _keys(self, place: int, length: int, gold: Call) -> list[int]:
        others = list(dict.fromkeys(tool.name for tool in self.tools if tool.name not in ("", gold.name)))
        own, *rest = self.asker.encoder.names_there(self.text, place, length, [gold.name, *others])
        return key_positions(own, rest)

    def _place(self, name: str, expected: Sequence[Call]) -> int | None:
        start = self.text.find(name) if name else -1
        while start >= 0:
            probed = self.text[:start] + _PROBE + self.text[start + len(name) :]
            if list(dialects.get(self.asker.dialect).parse(probed, self.tools).calls) == list(expected):
                return start
            start = self.text.find(name, start + 1)
        return None

    def _ids(self, text: str) -> list[int]:
        return self.asker.encoder.reply_tokens(text)[0]

    def _with(self, place: int, length: int, name: str) -> tuple[list[int], range]:
        """The ids of the reply with another name in a place, and which of them are the name's."""
        ids, spans = self.asker.encoder.reply_tokens(self.text[:place] + name + self.text[place + length :])
        own = [n for n, (first, last) in enumerate(spans) if first < place + len(name) and last > place]
        return ids, range(own[0], own[-1] + 1)


def _outcomes(asker: Local, test: TestSet, trials: Sequence[Trial]) -> Iterator[tuple[Trial, bool]]:
    """Each trial with whether its call became right."""
    prompts = {trial.item.index: asker.encoder.prompt_ids(trial.item.prompt) for trial in trials}
    forced = {place: [*prompts[trial.item.index], *trial.forced] for place, trial in enumerate(trials)}
    for place in [place for place, ids in forced.items() if len(ids) >= asker.limit]:
        del forced[place]
        yield trials[place], False  # the model has no room to go on
    for batch in asker.replies(forced):
        for place, reply in batch:
            trial = trials[place]
            ids = [*trial.forced, *(reply.ids[:-1] if reply.finished else reply.ids)]
            text = asker.tokenizer.decode(ids, skip_special_tokens=False)
            line = {"index": trial.item.index, "text": text, "dialect": asker.dialect, "finished": reply.finished}
            yield trial, _became_right(test, trial, line)


def _became_right(test: TestSet, trial: Trial, line: Mapping[str, Any]) -> bool:
    parsed = read_line(line, trial.item.prompt.tools)
    verdict: Verdict = judge(parsed, golds_for(test, trial.item, parsed), trial.item.prompt.tools)
    reached = verdict.gold == trial.gold and any(
        call.gold == trial.call and call.finding == "right" for call in verdict.calls
    )
    return verdict.CF or reached


def analyze(benchmark: Benchmark, named: Mapping[str, Model], names: str) -> list[dict[str, Any]]:
    """Both analyses of models on tests, from the predictions that `tltrain eval` saved in the same directory, or made
    now. Writes `analysis.json` and `analysis.html` and returns their rows."""
    rows = []
    tests = benchmark.tests(names)
    for name, model in named.items():
        for test in tests:
            if is_stepwise(test):
                benchmark.say(f"left out: {test.name}: it has no golds")
                continue
            lines = benchmark.predictions(name, model, test)
            row = {"model": name, "bench": test.name, "split": test.split, **categories(test, lines), "tokens": None}
            if isinstance(asker := benchmark.asker(name, model), Local):
                show = benchmark.tell(f"{name}, {test.name} {test.split}: tokens")
                row["tokens"] = token_importance(asker, test, lines, show)
            else:
                benchmark.say(f"{name}: token importance needs the model itself, not an endpoint")
            rows.append(row)
    write_json(benchmark.folder / "analysis.json", rows)
    write_analysis(benchmark.folder)
    return rows
