"""The errors of a model on a test set, and how much depends on single tokens: the paper's motivation of PKT.

Token importance: in each wrong call, the first wrong token of the tool's name, or the first wrong argument name, is
corrected by teacher forcing. The model continues from there, and the judge decides whether the call became right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tltrain import dialects
from tltrain.encode import key_positions
from tltrain.encode.decoding import decode_reply
from tltrain.evaluation.inference import LocalBackend
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scoring import judge_prediction
from tltrain.files import write_json
from tltrain.judging import Verdict, judge
from tltrain.progress import Progress, no_progress
from tltrain.testsets.base import Item, TestSet
from tltrain.trajectory import Call, Tool

if TYPE_CHECKING:
    from tltrain.evaluation.run import Evaluation
    from tltrain.evaluation.selection import Model

KINDS = ("first name token", "later key token", "other name token", "argument name")
"""Kinds of corrected tokens. The other name tokens distinguish no two of the given tools; PKT gives them weight 1."""
_PROBE = "zqprobe"


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction: the token ids of the reply up to and including the corrected token, where the model continues."""

    item: Item
    kind: str
    gold: int
    """Indices of the gold reply, and of its call, that the correction leads to."""
    call: int
    forced: tuple[int, ...]


def categories(test: TestSet, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Counts of wrong replies to a split by coarse `categories`, and by the `findings` of the judge's table; the same
    for the items whose gold has a call (`gold_with_call`) and for the others (`gold_without_call`)."""
    items = {item.index: item for item in test.items}
    verdicts = [judge_prediction(test, items[prediction.index], prediction) for prediction in predictions]
    with_call = [any(items[prediction.index].golds[0]) for prediction in predictions]
    parts = {
        name: _counts([verdict for verdict, call in zip(verdicts, with_call, strict=True) if call == wanted])
        for name, wanted in (("gold_with_call", True), ("gold_without_call", False))
    }
    return _counts(verdicts) | parts


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "n": len(verdicts),
        "right": sum(verdict.CF for verdict in verdicts),
        "categories": dict(Counter(verdict.category for verdict in verdicts if not verdict.CF).most_common()),
        "findings": dict(Counter(verdict.finding for verdict in verdicts if not verdict.CF).most_common()),
    }


def token_importance(
    backend: LocalBackend, test: TestSet, predictions: Sequence[Prediction], progress: Progress = no_progress
) -> dict[str, Any]:
    """Counts over the wrong calls of a split.

    `wrong_calls`: wrong calls that are matched with a gold call; `unlocated`: those of them whose name was not found in
    the text; `without_call`: wrong replies without a call to correct.

    By kind of token: `calls` (wrong calls that have such a token), `corrected` (tokens of a name that were wrong after
    right ones), `right` (calls that became right), and `right` in per cent of all wrong calls and of the corrections.
    An argument name that the gold lacks is replaced by a missing name, and wrong names before it are corrected too; if
    there is no such name, the missing name follows the other arguments.
    """
    found: list[Correction] = []
    counts: Counter[str] = Counter()
    items = {item.index: item for item in test.items}
    for prediction in predictions:
        found += corrections(backend, test, items[prediction.index], prediction, counts)
    right: Counter[str] = Counter()
    for done, (correction, became) in enumerate(_outcomes(backend, test, found), 1):
        right[correction.kind] += became
        progress("corrections", done, len(found))
    tried = Counter(correction.kind for correction in found)
    wrong = counts["wrong_calls"]
    rows = {kind: _row(counts[kind], tried[kind], right[kind], wrong) for kind in KINDS}
    return {**{name: counts[name] for name in ("wrong_calls", "unlocated", "without_call")}, "kinds": rows}


def _row(calls: int, corrected: int, right: int, wrong: int) -> dict[str, Any]:
    shares = {"of_wrong": 100 * right / max(wrong, 1), "of_corrected": 100 * right / max(corrected, 1)}
    return {"calls": calls, "corrected": corrected, "right": right, **shares}


def corrections(
    backend: LocalBackend, test: TestSet, item: Item, prediction: Prediction, counts: Counter[str]
) -> Iterator[Correction]:
    """All corrections of a reply. Its wrong calls, and those with each kind of token, are added to `counts`."""
    parsed = prediction.parse(item.prompt.tools)
    golds = test.golds_for(item, parsed.calls)
    verdict = judge(parsed, golds, item.prompt.tools)
    reply = _Reply(backend, prediction.text, parsed.calls, item.prompt.tools)
    counts["without_call"] += not verdict.CF and not parsed.calls
    for found in verdict.calls:
        if found.finding == "right" or found.prediction is None or found.gold is None:
            continue
        counts["wrong_calls"] += 1
        gold = golds[verdict.gold][found.gold]
        offset = reply.name_offset(found.prediction)
        if offset is None:
            counts["unlocated"] += 1
            continue
        reply_corrections = [*reply.name_corrections(found.prediction, offset, gold)]
        reply_corrections += reply.argument_corrections(found.prediction, gold)
        tokens, keys = reply.name_tokens(offset, found.prediction, gold)
        counts["first name token"] += 1
        counts["later key token"] += len(keys) > 1
        counts["other name token"] += any(position not in keys for position in range(tokens))
        counts["argument name"] += bool(gold.arguments)
        for kind, forced in reply_corrections:
            yield Correction(item, kind, verdict.gold, found.gold, tuple(forced))


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply's text and its calls; names are located by replacing them with a probe and parsing the text again."""

    backend: LocalBackend
    text: str
    calls: tuple[Call, ...]
    tools: tuple[Tool, ...]

    def name_offset(self, index: int) -> int | None:
        """Offset of a call's name in the text; None if it cannot be located."""
        calls = list(self.calls)
        calls[index] = replace(calls[index], name=_PROBE)
        return self._find(self.calls[index].name, calls)

    def argument_offset(self, index: int, name: str) -> int | None:
        """Offset of an argument's name in the text."""
        own = self.calls[index]
        assert isinstance(own.arguments, dict), "only arguments that were read have names"
        renamed = {_PROBE if key == name else key: value for key, value in own.arguments.items()}
        calls = list(self.calls)
        calls[index] = replace(own, arguments=renamed)
        return self._find(name, calls)

    def name_corrections(self, index: int, offset: int, gold: Call) -> Iterator[tuple[str, list[int]]]:
        """The correction of the first token in which the call's name differs from the gold's, if it does."""
        own = self.calls[index].name
        if own == gold.name:
            return
        there = self._ids(self.text)
        wanted, span = self._with(offset, len(own), gold.name)
        at = next((n for n, (a, b) in enumerate(zip(wanted, there, strict=False)) if a != b), len(there))
        position = at - span.start
        if position < 0 or at >= len(wanted):
            return
        yield self._kind(position, offset, len(own), gold), wanted[: at + 1]

    def argument_corrections(self, index: int, gold: Call) -> Iterator[tuple[str, list[int]]]:
        """Corrections of argument names: each name that the gold lacks is replaced by a missing name, in order, and the
        names before it are corrected too, as the call could not become right otherwise. If the gold lacks none of
        the names, a missing name follows the other arguments."""
        own = self.calls[index]
        if own.name != gold.name or not isinstance(own.arguments, dict) or not isinstance(gold.arguments, dict):
            return
        missing = [name for name in gold.arguments if name not in own.arguments]
        reply = self
        for name, right in zip([name for name in own.arguments if name not in gold.arguments], missing, strict=False):
            offset = reply.argument_offset(index, name)
            if offset is None:
                break
            wanted, span = reply._with(offset, len(name), right)
            yield "argument name", wanted[: span.stop]
            reply = reply._renamed(index, offset, name, right)
        if missing and own.arguments.keys() <= gold.arguments.keys():
            yield from self._inserted(index, missing[0])

    def _renamed(self, index: int, offset: int, name: str, right: str) -> _Reply:
        """The reply with another argument name at this offset."""
        own = self.calls[index]
        assert isinstance(own.arguments, dict), "only arguments that were read have names"
        arguments = {right if key == name else key: value for key, value in own.arguments.items()}
        calls = (*self.calls[:index], replace(own, arguments=arguments), *self.calls[index + 1 :])
        return replace(self, text=self.text[:offset] + right + self.text[offset + len(name) :], calls=calls)

    def _inserted(self, index: int, name: str) -> Iterator[tuple[str, list[int]]]:
        """An argument name after the others, if the text is exactly as the dialect formats it."""
        own, dialect = self.calls[index], dialects.get(self.backend.dialect)
        assert isinstance(own.arguments, dict), "only arguments that were read can be added to"
        longer = list(self.calls)
        longer[index] = replace(own, arguments={**own.arguments, name: ""})
        beside = dialect.parse(self.text, self.tools).text
        if dialect.format(self.calls, beside) != self.text:
            return
        reply = replace(self, text=dialect.format(longer, beside), calls=tuple(longer))
        offset = reply.argument_offset(index, name)
        if offset is not None:
            wanted, span = reply._with(offset, len(name), name)
            yield "argument name", wanted[: span.stop]

    def name_tokens(self, offset: int, index: int, gold: Call) -> tuple[int, list[int]]:
        """The number of tokens of the gold's name in place of the call's, and the positions of its key tokens given
        the tools of the item: the first, and maybe that after the name."""
        return self._name_tokens(offset, len(self.calls[index].name), gold)

    def _kind(self, position: int, offset: int, length: int, gold: Call) -> str:
        if position == 0:
            return "first name token"
        _, keys = self._name_tokens(offset, length, gold)
        return "later key token" if position in keys else "other name token"

    def _name_tokens(self, offset: int, length: int, gold: Call) -> tuple[int, list[int]]:
        others = list(dict.fromkeys(tool.name for tool in self.tools if tool.name not in ("", gold.name)))
        own, *rest = self.backend.encoder.names_there(self.text, offset, length, [gold.name, *others])
        return len(own), key_positions(own, rest)

    def _find(self, name: str, expected: Sequence[Call]) -> int | None:
        start = self.text.find(name) if name else -1
        while start >= 0:
            probed = self.text[:start] + _PROBE + self.text[start + len(name) :]
            if list(dialects.get(self.backend.dialect).parse(probed, self.tools).calls) == list(expected):
                return start
            start = self.text.find(name, start + 1)
        return None

    def _ids(self, text: str) -> list[int]:
        return self.backend.encoder.reply_tokens(text)[0]

    def _with(self, offset: int, length: int, name: str) -> tuple[list[int], range]:
        """The token ids of the reply with another name at an offset, and which of them belong to the name."""
        ids, spans = self.backend.encoder.reply_tokens(self.text[:offset] + name + self.text[offset + length :])
        own = [n for n, (first, last) in enumerate(spans) if first < offset + len(name) and last > offset]
        return ids, range(own[0], own[-1] + 1)


def _outcomes(
    backend: LocalBackend, test: TestSet, corrections: Sequence[Correction]
) -> Iterator[tuple[Correction, bool]]:
    """Each correction, and whether its call became right."""
    items = {correction.item.index: correction.item for correction in corrections}
    prompts = {index: backend.encoder.prompt_ids(item.prompt) for index, item in items.items()}
    forced = {
        number: [*prompts[correction.item.index], *correction.forced] for number, correction in enumerate(corrections)
    }
    for number in [number for number, ids in forced.items() if len(ids) >= backend.limit]:
        del forced[number]
        yield corrections[number], False  # the model has no room to continue
    for batch in backend.generate(forced):
        for number, reply in batch:
            correction = corrections[number]
            ids = [*correction.forced, *reply.ids]
            text = decode_reply(backend.tokenizer, ids, backend.encoder.stop_ids if reply.finished else ())
            prediction = Prediction(correction.item.index, text, backend.dialect, reply.finished)
            yield correction, _became_right(test, correction, prediction)


def _became_right(test: TestSet, correction: Correction, prediction: Prediction) -> bool:
    verdict = judge_prediction(test, correction.item, prediction)
    reached = verdict.gold == correction.gold and any(
        call.gold == correction.call and call.finding == "right" for call in verdict.calls
    )
    return verdict.CF or reached


def analyze(
    evaluation: Evaluation, named: Mapping[str, Model], tests: Sequence[TestSet], warn: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Both analyses of models on test sets, from predictions that `tltrain eval` saved in the same directory or
    that are made now. Writes `analysis.json` and returns its rows."""
    rows = []
    for name, model in named.items():
        for test in (test.sample(evaluation.config.limit, evaluation.config.seed) for test in tests):
            if test.MULTI_STEP:
                warn(f"skipped: {test.name} has no golds")
                continue
            predictions = evaluation.predictions(name, model, test)
            row = {"model": name, "bench": test.name, "split": test.split, **categories(test, predictions)}
            row["tokens"] = None
            if isinstance(backend := evaluation.backend(name, model), LocalBackend):
                show = evaluation.progress(f"{name}, {test.name} {test.split}: tokens")
                row["tokens"] = token_importance(backend, test, predictions, show)
            else:
                warn(f"{name}: token importance needs the model itself, not an endpoint")
            rows.append(row)
    write_json(evaluation.folder / "analysis.json", rows)
    return rows
