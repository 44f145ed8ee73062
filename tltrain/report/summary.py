"""What the scores say, in words: which differences are real, which are noise; the one sentence on top of a report."""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import Comparison

MODELS = {
    "base": "the base model",
    "sft": "standard SFT",
    "mae+pkt": "SFT with MAE and PKT",
    "mae+pkt+irm": "PPO with IRM after it",
}
_GAINS = {"mae+pkt": "MAE and PKT", "mae+pkt+irm": "IRM"}
_CATEGORY_WORDS = {
    "missing_call": "no call, or too few",
    "unwanted_call": "a call too many",
    "format": "call not readable",
    "tool_hallucinated": "tool not given",
    "tool_wrong": "wrong tool",
    "argument_hallucinated": "argument does not exist",
    "argument_missing": "argument missing",
    "argument_redundant": "argument not needed",
    "value": "wrong value",
}
_SPLIT_WORDS = {"unseen": "On tools never seen in training", "seen": "On tools seen in training"}


Comparisons = Sequence[Comparison]


def difference(comparisons: Comparisons, score: Score, reference: Score, metric: str) -> Comparison | None:
    """The saved comparison of two rows of one test; None where there is none."""
    wanted = (score.bench, score.split, score.model, reference.model, metric)
    if score.protocol not in (None, "default"):
        return None
    return next(
        (one for one in comparisons if (one.bench, one.split, one.model, one.against, one.metric) == wanted), None
    )


def by_test(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Rows grouped by what was tested on, in the order of the file."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.test, []).append(score)
    return groups


def lead(scores: Sequence[Score]) -> list[Score]:
    """The rows of the test that counts most: tools unseen in training where there are such, else the first test."""
    unseen = [score for score in scores if score.split == "unseen"]
    return by_test(unseen or scores)[(unseen or scores)[0].test]


def compared_rows(rows: Sequence[Score]) -> list[tuple[Score, Score]]:
    """Pairs (model, reference) of one test: each with the one before it, and the last with standard SFT."""
    pairs = list(zip(rows[1:], rows, strict=False))
    plain = next((row for row in rows if row.model == "sft"), None)
    if plain is not None and rows.index(plain) < len(rows) - 2:
        pairs.append((rows[-1], plain))
    return pairs


def headline(scores: Sequence[Score], comparisons: Comparisons) -> str:
    """One sentence: how good the last model is on the leading test, what it started from, what each stage added."""
    rows = lead(scores)
    best, first = rows[-1], rows[0]
    metric = "VA" if "VA" in best.metrics else next(iter(best.metrics))  # the other two of ToolEyes are shares of calls
    where = _SPLIT_WORDS.get(best.split, f"On {best.test}")
    start = (
        "" if best is first or metric not in first.metrics else f" ({name(first.model)}: {first.metrics[metric]:.1f} %)"
    )
    who = "the trained model" if best.model in _GAINS else name(best.model)
    words = METRICS[metric].headline.format(f"{best.metrics[metric]:.1f}")
    gains = [
        _gain(comparisons, row, reference, metric)
        for row, reference in zip(rows[1:], rows, strict=False)
        if row.model in _GAINS
    ]
    after = "; ".join(gain for gain in gains if gain)
    what = "steps" if best.bench == "toolworld" else "items"
    return f"{where}, {who} {words} of {best.n:,} {what}{start}{': ' + after if after else ''}."


def setbacks(scores: Sequence[Score], comparisons: Comparisons) -> str:
    """Where a stage made a metric worse by more than noise, in one sentence; empty where nowhere."""
    found = []
    for test, rows in by_test(scores).items():
        for row, reference in zip(rows[1:], rows, strict=False):
            for metric in row.metrics.keys() & reference.metrics.keys():
                result = difference(comparisons, row, reference, metric)
                if result is not None and result.verdict == ("lower" if METRICS[metric].higher_is_better else "higher"):
                    found.append(f"{metric} of {row.model} on {test} ({result.text} against {reference.model})")
    return f"Worse by more than noise: {'; '.join(sorted(found))}." if found else ""


def remarks(scores: Sequence[Score]) -> list[str]:
    """What has to be known beside the figures: data that is not the pinned one, what executed the calls."""
    told = [warning for score in scores for warning in score.warnings]
    told += [f"{score.test}: calls are executed by the {score.executor}; figures of another executor do not compare"
             for score in scores if score.executor]  # fmt: skip
    return list(dict.fromkeys(told))


def category_words(category: str) -> str:
    """An error category of the judge or the audit, readable."""
    return _CATEGORY_WORDS.get(category, category.replace("_", " "))


def name(model: str) -> str:
    """A model of the pipeline in words; any other by its own name."""
    return MODELS.get(model, model)


def _gain(comparisons: Comparisons, row: Score, reference: Score, metric: str) -> str:
    result = difference(comparisons, row, reference, metric)
    if result is None:
        return ""
    what, against, points = _GAINS[row.model], name(reference.model), f"{abs(result.points):.1f} points"
    if result.verdict == "higher":
        return f"{what} added {points} to {against}"
    if result.verdict == "lower":
        return f"{what} did not help, it cost {points} against {against}"
    if result.verdict == "within noise":
        return f"the change by {what} ({result.text}) is within noise"
    return f"{what} changed it by {result.text} points, without a standard error to judge by"
