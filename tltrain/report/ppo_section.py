"""The report's PPO section: validation, rollouts, speed, and signs of reward hacking, each with a sentence about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from tltrain.report import charts
from tltrain.report.curves import ENDS, curve, drawable, first_to_last, scatter, tenths
from tltrain.report.gold_kinds import Share
from tltrain.report.page import Section, facts, figure, heading, join, paragraph, side_by_side

Lines = Sequence[Mapping[str, Any]]
_CURVES = {
    "reward": ("Mean reward", "of the sampled replies of each rollout, −2 to +1"),
    "kl": ("KL divergence from the SFT model", "per reply"),
    "varied": ("Prompts whose samples differ in reward", "share of the prompts; the others teach nothing"),
    "replies_per_second": ("Replies per second", "sampled, judged and trained on"),
}
_SIGNS = {
    "call_share": ("Share of replies with a call", "of all replies; the natural share depends on the prompts"),
    "call_rate": ("Share of replies that call a tool", "a fall to 0 means that the model stopped calling"),
    "text_for_call": ("Texts where a call is due", "share of the replies to prompts whose gold is a call"),
    "unparseable": ("Unparseable replies", "share of all replies; truncated replies are among them"),
    "reply_length": ("Reply length", "in tokens"),
}
_SHARES = frozenset(("varied", "call_share", "call_rate", "text_for_call", "unparseable"))
_METRIC_COLOURS = {"TS": 3, "PI": 2, "CF": 1}
_LARGE = 0.1
"""Change of a share, or relative change of the reply length by 2.5 times as much, that is worth a remark."""


def ppo_section(metrics: Lines, validation: Lines) -> Section | None:
    """The section from the lines of `ppo/metrics.jsonl` and `ppo/validation.jsonl`; None without either."""
    if not metrics and not validation:
        return None
    parts = [paragraph(validation_sentence(validation) if validation else noise_sentence(metrics))]
    parts += [_figures(metrics)] if metrics else []
    parts += [heading("Validation"), _validation_charts(validation)] if len(validation) > 1 else []
    if metrics:
        parts += [heading("Rollouts"), _charts(metrics, _CURVES)]
        parts += [heading("Signs of reward hacking"), paragraph(hacking_sentence(metrics)), _charts(metrics, _SIGNS)]
    return Section("PPO", join(parts))


def _figures(metrics: Lines) -> Markup:
    shown = []
    for name in ("reward", "kl", "varied"):
        _, values = curve(metrics, "rollout", name)
        if any(map(math.isfinite, values)):
            title = (_CURVES | _SIGNS)[name][0]
            shown.append((f"{title}, {ENDS}", first_to_last(values, percent=name in _SHARES)))
    _, speeds = curve(metrics, "rollout", "replies_per_second")
    if kept := [speed for speed in speeds if math.isfinite(speed)]:
        shown.append(("Replies per second, median", f"{median(kept):.3g}"))
    return facts(shown)


def _charts(metrics: Lines, titles: Mapping[str, tuple[str, str]]) -> Markup:
    """A chart for each curve; a curve of a single point is a number."""
    figures, numbers = [], []
    for name, (title, meaning) in titles.items():
        if name == "call_rate" and any("call_share" in line for line in metrics):
            continue  # earlier versions wrote only this one
        found = {name: curve(metrics, "rollout", name)}
        if drawable(found):
            limits = (0.0, 1.0) if name in _SHARES else None
            chart = charts.lines(title, found, x_label="rollout", colours={name: 1}, smooth=True, limits=limits)
            figures.append(figure(chart, meaning[0].upper() + meaning[1:] + ".", title=title))
        elif any(map(math.isfinite, found[name][1])) and name in _SIGNS:
            numbers.append((title, first_to_last(found[name][1], percent=name in _SHARES)))
    return join([facts(numbers), side_by_side(*figures)] if numbers else [side_by_side(*figures)])


def _validation_charts(validation: Lines) -> Markup:
    curves = {name: curve(validation, "rollout", name) for name in _METRIC_COLOURS}
    reward = {"reward": curve(validation, "rollout", "reward")}
    figures = []
    for title, found, text in (
        ("Greedy replies, per cent", curves, "TS, PI and CF on the validation prompts; bars are standard errors."),
        ("Mean reward of sampled replies", reward, "On the validation prompts; bars are standard errors."),
    ):
        if drawable(found):
            colours = _METRIC_COLOURS | {"reward": 1}
            bands = {
                name: _band(values[1], [_error(line, name) for line in validation]) for name, values in found.items()
            }
            chart = charts.lines(title, found, x_label="rollout", colours=colours, bands=bands)
            figures.append(figure(chart, text, title=title))
    return side_by_side(*figures)


def _band(values: Sequence[float], errors: Sequence[float]) -> tuple[list[float], list[float]]:
    """Each value minus and plus its standard error."""
    pairs = list(zip(values, errors, strict=True))
    return [value - error for value, error in pairs], [value + error for value, error in pairs]


def validation_sentence(validation: Lines) -> str:
    """What the validation shows: greedy CF and the reward of the start and of the policy that is saved, and whether the
    difference exceeds two standard errors."""
    start, best = validation[0], best_validation(validation)
    n = best.get("prompts")
    on = f"On {n:,} validation prompts" if isinstance(n, int) else "On the validation prompts"
    if best is start:
        found = "no validation after the start was better, so the saved policy is the start"
        return f"{on}, {found}: greedy CF {_cf(start)}, mean sampled reward {_reward(start)}."
    points = finite_or_zero(best, "CF") - finite_or_zero(start, "CF")
    gain = finite_or_zero(best, "reward") - finite_or_zero(start, "reward")
    verdicts = (_verdict(points, start, best, "CF"), _verdict(gain, start, best, "reward"))
    return (
        f"{on}, greedy CF went from {_cf(start)} at the start to {_cf(best)} after rollout {best.get('rollout')}, "
        f"{verdicts[0]}; the mean reward of sampled replies from {_reward(start)} to {_reward(best)}, {verdicts[1]}. "
        "This policy is the saved one; as the best of several validations, its score is slightly optimistic."
    )


def best_validation(validation: Lines) -> Mapping[str, Any]:
    """The validation whose policy is saved: the highest CF, then reward, the first of equals."""
    return max(validation, key=lambda line: (finite_or_zero(line, "CF"), finite_or_zero(line, "reward")))


def finite_or_zero(line: Mapping[str, Any], name: str) -> float:
    """The number in a field; 0 if it is missing or not finite."""
    value = line.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _error(line: Mapping[str, Any], name: str) -> float:
    errors = line.get("se")
    return finite_or_zero(errors, name) if isinstance(errors, dict) else 0.0


def _cf(line: Mapping[str, Any]) -> str:
    n = line.get("prompts")
    share = Share(finite_or_zero(line, "CF"), _error(line, "CF") or None, n if isinstance(n, int) else None)
    return share.text if share.few else f"{share.text} %"


def _reward(line: Mapping[str, Any]) -> str:
    error = _error(line, "reward")
    text = f"{finite_or_zero(line, 'reward'):.2f}" + (f" ± {error:.2f}" if error else "")
    return text.replace("-", "−")


def _verdict(change: float, start: Mapping[str, Any], best: Mapping[str, Any], name: str) -> str:
    error = math.hypot(_error(start, name), _error(best, name))
    if not error:
        return "without a standard error to judge by"
    if abs(change) < 2 * error:
        return "which is within two standard errors"
    return f"{'a gain' if change > 0 else 'a loss'} of more than two standard errors"


def noise_sentence(metrics: Lines) -> str:
    """Why the curve of rollout rewards is all there is, and how noisy it is."""
    noise = scatter(curve(metrics, "rollout", "reward")[1])
    text = (
        "There was no validation (`ppo.validation`), so progress is only visible in the rewards of the rollouts, each "
        "of which has other prompts: that curve is noisy"
    )
    if noise is None:
        return f"{text}, and too short to say how noisy."
    ends = tenths(curve(metrics, "rollout", "reward")[1])
    size = max(1, len(metrics) // 10)
    change, error = (ends[1] - ends[0], noise * math.sqrt(2 / size)) if ends else (0.0, 0.0)
    within = "within" if abs(change) < 2 * error else "more than"
    return (
        f"{text}. The mean reward of one rollout has a standard error of about {noise:.2f}, as neighbouring rollouts "
        f"differ; the change from the first to the last tenth, {change:+.2f} ± {error:.2f}, is {within} two standard "
        "errors."
    ).replace("-0", "−0")


def hacking_sentence(metrics: Lines) -> str:
    """Which of the signs changed more than noise and by a tenth (the reply length by a quarter), or that none did."""
    found: list[str] = []
    calm: list[str] = []
    for name in _SIGNS:
        _, values = curve(metrics, "rollout", name)
        ends = tenths(values)
        if ends is None or (name == "call_rate" and any("call_share" in line for line in metrics)):
            continue
        text = f"{_SIGNS[name][0].lower()} {first_to_last(values, percent=name in _SHARES)}"
        (found if _is_large(name, *ends, values) else calm).append(text)
    if len(metrics) < 2:
        return f"A single rollout shows no change: {', '.join(found + calm)}."
    if found:
        rest = f" Little changed: {', '.join(calm)}." if calm else ""
        return f"Changed markedly from the first to the last tenth of the rollouts: {', '.join(found)}. {_ADVICE}{rest}"
    return f"None seen: {', '.join(calm)} ({ENDS} of the rollouts)." if calm else "None of them was recorded."


_ADVICE = "Read samples in ppo/rollouts.jsonl to see whether the replies became better or only the reward did."


def _is_large(name: str, before: float, after: float, values: Sequence[float]) -> bool:
    size = max(1, len(values) // 10)
    noise = 2 * (scatter(values) or 0.0) * math.sqrt(2 / size)
    limit = _LARGE if name in _SHARES else 2.5 * _LARGE * abs(before)
    return abs(after - before) >= max(limit, noise)
