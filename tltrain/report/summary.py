"""The scores in words: which differences are significant, which are noise, and the sentence at the top of a report."""

from __future__ import annotations

from collections.abc import Sequence

from tltrain.arms import ARMS
from tltrain.evaluation.metrics import METRICS
from tltrain.evaluation.scores import Score
from tltrain.evaluation.significance import Comparison, ErrorChange
from tltrain.progress import quantity
from tltrain.report.gold_kinds import TEXT, Share, distinguishes, only_texts, shares

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
    "missing": "no prediction",
}
_SPLIT_WORDS = {"unseen": "On tools never seen in training", "seen": "On tools seen in training"}
_ITEM = {
    False: "reply",
    True: "query",
}
"""What an item is, by whether the test set is a multi-step one."""

Comparisons = Sequence[Comparison]


def difference(comparisons: Comparisons, score: Score, reference: Score, metric: str) -> Comparison | None:
    """The saved comparison of two rows of one test; None if there is none."""
    wanted = (score.bench, score.split, score.model, reference.model, metric)
    if score.protocol not in (None, "default"):
        return None
    return next(
        (row for row in comparisons if (row.bench, row.split, row.model, row.against, row.metric) == wanted), None
    )


def by_test(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Rows grouped by test (test set, split and protocol), in the order of the file."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.test, []).append(score)
    return groups


def lead(scores: Sequence[Score]) -> list[Score]:
    """The rows of the headline's test: tools unseen in training if there is such a split, else the first test."""
    unseen = [score for score in scores if score.split == "unseen"]
    return by_test(unseen or scores)[(unseen or scores)[0].test]


def stages(rows: Sequence[Score]) -> list[tuple[Score, Score]]:
    """Pairs (model, reference) of one test: each model but the first with what it is compared with.

    The reference of a training arm is `Arm.against`. Where that was not scored before it, and for every other model,
    the reference is the row before.
    """
    pairs = []
    for index, row in enumerate(rows[1:], 1):
        against = ARMS[row.model].against if row.model in ARMS else None
        pairs.append((row, next((other for other in rows[:index] if other.model == against), rows[index - 1])))
    return pairs


def compared_rows(rows: Sequence[Score]) -> list[tuple[Score, Score]]:
    """The pairs of `stages`, and the last model with standard SFT."""
    pairs = stages(rows)
    plain = next((row for row in rows[:-1] if row.model == "sft"), None)
    if plain is not None and pairs[-1][1] is not plain:
        pairs.append((rows[-1], plain))
    return pairs


def headline(scores: Sequence[Score], comparisons: Comparisons) -> str:
    """One sentence: the last model's score on the leading test, the first model's, and what each stage added.

    The score is that over the items whose gold has a call; of few items (`significance.FEW`) it is a count. What is
    said of a stage is the verdict of its comparison, as in the tables.
    """
    rows = lead(scores)
    best, first = rows[-1], rows[0]
    found, before = shares(best), shares(first)
    # DE and CE of ToolEyes are shares of calls, and say less than the answers
    metric = "VA" if "VA" in found else next(iter(found))
    share = found[metric]
    where = _SPLIT_WORDS.get(best.split, f"On {best.test}")
    subject = "the trained model" if _gain(best.model) else title(best.model)
    start = "" if best is first or metric not in before else f" ({title(first.model)}: {before[metric].short})"
    counted = "step" if best.bench == "toolworld" else "item"
    words = _TEXT_WORDS if metric == TEXT else METRICS[metric].headline
    sentence = f"{where}, {subject} {words.format(_of_items(share, best, counted))}{start}"
    paired = [(row, reference) for row, reference in stages(rows) if _gain(row.model) and metric != TEXT]
    after = "; ".join(change for pair in paired if (change := _change(comparisons, *pair, metric)))
    if not after:
        return f"{sentence}."
    return (
        f"{sentence}; over all {quantity(best.n, counted)}, {after}."
        if distinguishes(best)
        else f"{sentence}: {after}."
    )


_TEXT_WORDS = "answers without a call in {}"


def _of_items(share: Share, score: Score, counted: str) -> str:
    """`72.0 % of the 312 steps that need a call`, or `0 of the 3 steps that need a call`."""
    amount = f"{share.held}" if share.few else f"{share.value:.1f} %"
    number = score.n if share.n is None else share.n
    if only_texts(score):
        return f"{amount} of {quantity(number, counted)}, none of which needs a call"
    if distinguishes(score):
        return f"{amount} of the {quantity(number, counted)} that {'needs' if number == 1 else 'need'} a call"
    return f"{amount} of {quantity(number, counted)}"


def setbacks(scores: Sequence[Score], comparisons: Comparisons) -> str:
    """The metrics that a stage made significantly worse, in one sentence; empty if there are none."""
    found = []
    for test, rows in by_test(scores).items():
        for row, reference in stages(rows):
            for metric in row.metrics.keys() & reference.metrics.keys():
                result = difference(comparisons, row, reference, metric)
                if result is not None and result.verdict == ("lower" if METRICS[metric].higher_is_better else "higher"):
                    found.append(f"{metric} of {row.model} on {test} ({result.text} against {reference.model})")
    return f"Worse by more than noise: {'; '.join(sorted(found))}." if found else ""


def errors_changed(rows: Sequence[Score], changes: Sequence[ErrorChange]) -> list[str]:
    """For each stage of one test, a sentence about the kinds of error whose number changed by more than noise."""
    sentences = []
    for row, reference in stages(rows):
        wanted = (row.bench, row.split, row.model, reference.model)
        found = [change for change in changes if (change.bench, change.split, change.model, change.against) == wanted]
        if not found:
            continue
        named = sorted((change for change in found if change.significant), key=lambda change: change.p_holm)
        parts = [
            f"{category_words(change.category)} {change.before} → {change.after} ({p_value(change.p_holm)})"
            for change in named
        ]
        if len(parts) < len(found):
            parts.append("the other kinds are within noise" if parts else "no kind of error changed by more than noise")
        sentences.append(f"{row.model} against {reference.model}: {'; '.join(parts)}.")
    return sentences


def p_value(p: float) -> str:
    """A p-value in words that fit a parenthesis."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def remarks(scores: Sequence[Score]) -> list[str]:
    """Caveats of the scores: data that differ from the pinned version, and what executed the calls."""
    found = [warning for score in scores for warning in score.warnings]
    found += [f"{score.test}: calls are executed by the {score.executor}; figures of another executor do not compare"
              for score in scores if score.executor]  # fmt: skip
    return list(dict.fromkeys(found))


def truncations(scores: Sequence[Score]) -> list[str]:
    """A line for each row with truncated replies, which count as wrong however they began."""
    return [
        f"{score.model}, {score.test}: {_truncated(score)} at "
        + ("max_new_tokens" if score.max_new_tokens is None else f"{score.max_new_tokens:,} tokens")
        for score in scores
        if score.truncated and score.protocol in (None, "default")  # the paper's protocol scores the same replies
    ]


def _truncated(score: Score) -> str:
    """Such as `1 of 4 replies was truncated`."""
    one, steps = score.truncated == 1, score.queries is not None
    of_all = f"{score.truncated:,} of {quantity(score.n, _ITEM[steps])}"
    was = "was" if one else "were"
    return f"{of_all} {'has' if one else 'have'} a reply that was truncated" if steps else f"{of_all} {was} truncated"


def category_words(category: str) -> str:
    """An error category of the judge or the audit in words."""
    return _CATEGORY_WORDS.get(category, category.replace("_", " "))


def title(model: str) -> str:
    """A training arm in words; any other model by its name."""
    return ARMS[model].title if model in ARMS else model


def _gain(model: str) -> str:
    return ARMS[model].gain if model in ARMS else ""


def _change(comparisons: Comparisons, row: Score, reference: Score, metric: str) -> str:
    result = difference(comparisons, row, reference, metric)
    if result is None:
        return ""
    alone = row.model in ARMS and ARMS[row.model].against == reference.model  # the arm differs in its gain only
    gain = _gain(row.model) if alone else title(row.model)
    against, points = title(reference.model), f"{abs(result.points):.1f} points"
    if result.verdict == "higher":
        return f"{gain} added {points} to {against}"
    if result.verdict == "lower":
        return f"{gain} did not help but cost {points} against {against}"
    if result.verdict == "within noise":
        return f"the change by {gain} ({result.text}) is within noise"
    return f"{gain} changed it by {result.text} points, without a standard error to judge by"
