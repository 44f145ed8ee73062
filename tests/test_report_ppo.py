"""The report's PPO section: what its sentences say of curves that are known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from support.report_sample import validation, write_lines

from tltrain.report.curves import first_to_last, scatter, tenths
from tltrain.report.ppo_section import (
    best_validation,
    hacking_sentence,
    noise_sentence,
    ppo_section,
    validation_sentence,
)
from tltrain.report.report import write_report


def rollouts(number: int = 40, **curves: Any) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`; each curve is a function of the share of the way from 0 to 1."""
    return [
        {"rollout": index + 1, **{name: curve(index / (number - 1)) for name, curve in curves.items()}}
        for index in range(number)
    ]


def test_the_saved_policy_is_the_best_and_the_first_of_equals() -> None:
    lines = validation()
    assert best_validation(lines)["rollout"] == 18
    lines.append(lines[3] | {"rollout": 30})
    assert best_validation(lines)["rollout"] == 18


def test_validation_in_a_sentence() -> None:
    assert validation_sentence(validation()) == (
        "On 64 validation prompts, greedy CF went from 60.0 ± 6.0 % at the start to 68.8 ± 6.0 % after rollout 18, "
        "which is within two standard errors; the mean reward of sampled replies from 0.31 ± 0.06 to 0.52 ± 0.06, a "
        "gain of more than two standard errors. This policy is the saved one; as the best of several validations, its "
        "score is slightly optimistic."
    )
    worse = validation()[:1] + [line | {"CF": 10.0} for line in validation()[1:]]
    assert "no validation after the start was better, so the saved policy is the start" in validation_sentence(worse)
    few = [line | {"prompts": 10} for line in validation()]
    assert "greedy CF went from 6 of 10 at the start to 7 of 10 after rollout 18" in validation_sentence(few)


def test_without_validation_the_noise_is_stated() -> None:
    rng = random.Random(0)
    lines = rollouts(200, reward=lambda share: 0.3 + rng.gauss(0, 0.2))
    assert scatter([line["reward"] for line in lines]) == pytest.approx(0.2, rel=0.15)
    text = noise_sentence(lines)
    assert "There was no validation" in text and "standard error of about 0." in text
    assert "is within two standard errors" in text
    clear = noise_sentence(rollouts(200, reward=lambda share: share + rng.gauss(0, 0.05)))
    assert "is more than two standard errors" in clear
    assert "too short to say how noisy" in noise_sentence(lines[:2])


def test_signs_of_reward_hacking_are_named() -> None:
    calm = rollouts(call_share=lambda share: 0.7, unparseable=lambda share: 0.05, reply_length=lambda share: 30.0)
    assert hacking_sentence(calm) == (
        "None seen: share of replies with a call 70 % → 70 %, unparseable replies 5 % → 5 %, reply length 30 → 30 "
        "(first and last tenth of the rollouts)."
    )
    always = rollouts(call_share=lambda share: 0.6 + 0.4 * share, reply_length=lambda share: 30.0 + share)
    assert hacking_sentence(always).startswith(
        "Changed markedly from the first to the last tenth of the rollouts: share of replies with a call 62 % → 98 %. "
    )
    longer = rollouts(reply_length=lambda share: 30.0 + 30 * share)
    assert "reply length 31.2 → 58.8. Read samples" in hacking_sentence(longer)


def test_noise_is_no_sign_of_reward_hacking() -> None:
    lines = [{"rollout": number, "call_share": 0.9 if number % 2 else 0.3} for number in range(1, 11)]
    assert hacking_sentence(lines).startswith("None seen: share of replies with a call 90 % → 30 %")


def test_a_curve_of_one_point_is_a_number(tmp_path: Path) -> None:
    line = {"rollout": 1, "reward": 0.25, "varied": 0.5, "call_share": 0.7, "replies_per_second": 2.5}
    write_lines(tmp_path / "ppo" / "metrics.jsonl", [line])
    write_lines(tmp_path / "sft" / "sft" / "metrics.jsonl", [{"step": 1, "loss": 2.0, "grad_norm": 1.0}])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<svg" not in text
    for shown in ("<dd>0.25</dd>", "<dd>50 %</dd>", "<dd>70 %</dd>", "<dd>2.5</dd>", "<dd>2</dd>"):
        assert shown in text, shown


def test_validation_has_charts_with_error_bars() -> None:
    section = ppo_section([], validation())
    assert section is not None
    assert section.body.count("<svg") == 2
    without = ppo_section([], [line | {"se": {}} for line in validation()])
    assert without is not None and len(without.body) < len(section.body)
    assert ppo_section([], []) is None


def test_ends_of_a_curve() -> None:
    assert tenths(list(range(20))) == (0.5, 18.5)
    assert tenths([float("nan")]) is None
    assert first_to_last([0.5, 0.25], percent=True) == "50 % → 25 %"
    assert first_to_last([2.0]) == "2"
    assert scatter([1.0, 2.0]) is None
