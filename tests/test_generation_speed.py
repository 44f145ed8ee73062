"""The generation benchmark: all sides reply to the same prompts, its figures add up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from generation_speed import SIDES, Bench, equal, figures, table
from speed.generation_ours import ours
from speed.generation_process import GenerationJob, cut
from speed.generation_theirs import theirs
from speed.launch import RunFailedError
from speed.process import read_lines, write_lines
from support.micro import save_micro

STOP = 2


@pytest.fixture
def job(tmp_path: Path) -> GenerationJob:
    prompts = [[5, 6, 7, 8, number, *range(20, 20 + number)] for number in range(9, 15)]
    write_lines(tmp_path / "prompts.jsonl", [{"ids": prompt} for prompt in prompts])
    return GenerationJob(
        prompts=str(tmp_path / "prompts.jsonl"),
        model=str(save_micro(tmp_path / "micro")),
        dtype="float32",
        device="cpu",
        stop_ids=[STOP],
        new_tokens=12,
        batch=4,
        settings={},
    )


@pytest.mark.parametrize("batching", ["static", "continuous"])
def test_transformers_generates_the_same_replies(job: GenerationJob, batching: str) -> None:
    whole = ours(job).replies
    job = replace(job, stop_ids=[whole[0][3], STOP])  # some replies end early, others are truncated
    expected = [cut(reply, job.stop_ids) for reply in whole]
    assert ours(job).replies == expected
    assert len({len(reply) for reply in expected}) > 1
    assert theirs(replace(job, settings={"batching": batching})).replies == expected


def test_replies_are_cut_after_their_stop_token() -> None:
    assert cut([5, 6, 2, 2, 2], [2, 9]) == [5, 6, 2]
    assert cut([5, 6], [2]) == [5, 6]


def test_share_of_equal_replies() -> None:
    assert equal([[1, 2], [3], [4], [5]], [[1, 2], [3, 3], [4], [5]]) == 0.75


def test_all_prompts_of_the_logs_are_replied_to(
    job: GenerationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of a log are those of its replies, each of which contains the one before."""
    seen: list[list[list[int]]] = []

    def run_job(_: str, module: str, given: GenerationJob, __: Path) -> dict[str, Any]:
        prompts = [line["ids"] for line in read_lines(given.prompts)]
        seen.append(prompts)
        if given.settings.get("batching") == "continuous":
            raise RunFailedError("out of memory")
        seconds = 1.0 if module == SIDES["ours"][0] else 3.0
        replies = [[7] * (1 + index % 2) for index in range(len(prompts))]
        return {"seconds": seconds, "replies": replies, "peak_mb": 100.0 * seconds}

    monkeypatch.setattr("generation_speed.run_job", run_job)
    result = Bench(job, 2, 0, 2, tuple(SIDES), tmp_path, {}).workload("own")
    assert len(seen) == 6
    assert all(prompts == seen[0] for prompts in seen)
    assert result["prompts"] == len(seen[0]) > 2
    assert any(later[: len(earlier)] == earlier for earlier, later in pairwise(seen[0]))
    static = result["sides"]["static"]
    assert (static["speed"], static["memory"], static["equal"]) == pytest.approx((3.0, 1 / 3, 1.0))
    lines = table([result]).splitlines()
    assert lines[1].split()[:2] == ["own", "ours"]
    assert "ours 3.00 times as fast (bar 1.5, holds) at 0.33 of its memory, 100% of the replies equal" in lines[2]
    assert lines[3].split() == ["own", "continuous", "failed:", "out", "of", "memory"]


@pytest.mark.parametrize(("speed", "holds"), [(3.9, False), (4.0, True)])
def test_bars(speed: float, holds: bool) -> None:
    run = {"seconds": 1.0, "tokens_a_second": 8.0, "replies": [[1]], "peak_mb": 5.0}
    found = figures("shared", {"ours": [run], "static": [{**run, "tokens_a_second": 8.0 / speed}]})
    assert found["sides"]["static"]["bar_holds"] is holds
