"""The feedback detector on messages labelled by hand before its rules were written (see `score_failure_detectors`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.score_failure_detectors import LABELS, PROBES, Labelled, load, score, wrong

from tltrain.audit import assess_calls
from tltrain.audit.statements import PROGRAMS, SENTENCES
from tltrain.toolworld import generate

COMMITTED = load(None)


def half(labelled: list[Labelled], name: str) -> list[Labelled]:
    return [message for message in labelled if message.half == name]


def test_the_labelled_set_is_large_varied_and_split():
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 700
    assert len({row["kind"] for row in rows}) >= 12
    assert all(("text" in row) != ("at" in row and "sha256" in row) for row in rows)
    assert len({message.text for message in COMMITTED}) == len(COMMITTED)
    for name in ("dev", "held"):
        part = half(COMMITTED, name)
        assert len(part) >= 250
        assert 0.3 < sum(message.failed for message in part) / len(part) < 0.8


@pytest.mark.parametrize("name", ["dev", "held"])
def test_committed_messages(name: str):
    found = score(half(COMMITTED, name), "default")
    assert min(found.precision, found.recall, found.f1) >= 0.97, list(wrong(half(COMMITTED, name)))


@pytest.mark.parametrize("name", ["dev", "held"])
def test_all_messages(name: str, shared_data: Path):
    part = half(load(shared_data), name)
    found = score(part, "default")
    assert min(found.precision, found.recall, found.f1) >= 0.97, list(wrong(part))
    for kind in {(message.kind, message.failed) for message in part}:
        some = [message for message in part if (message.kind, message.failed) == kind]
        assert len(list(wrong(some))) <= max(2, len(some) // 10), kind


def test_the_released_rule_is_far_behind():
    found = score(COMMITTED, "paper")
    assert found.precision < 0.8
    assert found.recall < 0.5


def test_probes_written_to_break_the_rules():
    probes = load(None, PROBES)
    assert len(probes) > 600
    assert score(probes, "default").f1 >= 0.97, list(wrong(probes))


def test_the_parts_a_kind_needs_stand_in_every_text_that_its_pattern_tells():
    texts = [message.text.strip() for message in COMMITTED + load(None, PROBES)]
    for kind in (*PROGRAMS, *SENTENCES):
        for text in texts:
            subject = text if kind.cased else text.lower()
            found = kind.pattern.search(subject) if kind.within else kind.pattern.match(subject)
            assert found is None or any(part in text.lower() for part in kind.needs), (kind.name, text)


def test_toolworld_calls_that_failed_visibly_are_those_that_are_read_as_failed():
    for trajectory in generate(size=150, seed=11).train:
        visible = {
            (site["message"], site["index"])
            for site in trajectory.extra["toolworld"]["sites"]
            if not site["error"].endswith("_silent")
        }
        assessments = assess_calls(trajectory)
        assert {(assessment.message, assessment.index) for assessment in assessments if assessment.failed} == visible
        assert all(assessment.feedback_reason for assessment in assessments if assessment.failed)
