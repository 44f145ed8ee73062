"""Records that were changed at random: readers refuse them with the package's errors, and what is read can be used."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import SAMPLES
from support.mutation import mutated_line

from tltrain.audit.failure_detectors import assess_calls
from tltrain.errors import DataError
from tltrain.formats import FORMATS, WRITERS, Found, Problem, read, read_tools
from tltrain.formats.table import format_name
from tltrain.trajectory import Trajectory

RECORDS = [(format, record) for format, records in SAMPLES.items() for record in records]


def use(trajectory: Trajectory) -> None:
    """What every command does with a trajectory; raises nothing."""
    json.dumps(trajectory.to_json())
    assert all(assessment.reason for assessment in assess_calls(trajectory) if assessment.failed)
    for write in WRITERS.values():
        try:
            json.dumps(write(trajectory, ()))
        except DataError:
            continue


def read_all(path: Path, format: str | None) -> int:
    """The number of records that were read or refused."""
    problems: list[Problem] = []
    found = Found()
    number = 0
    try:
        for trajectory in read(path, format, strict=False, problems=problems, found=found):
            use(trajectory)
            number += 1
    except DataError as error:
        problems.append(Problem("", None, error.reason))
    assert all(problem.reason and "\n" not in problem.reason for problem in problems)
    assert found.lines("x")
    return number + len(problems)


def work_through(folder: Path, seed: int, records: int, batch: int = 200) -> int:
    """Read that many mutated records in files of `batch`, each read with its format named and detected in turn."""
    rng, done, number = Random(seed), 0, 0
    while done < records:
        format, _ = RECORDS[number % len(RECORDS)]
        own = [record for name, record in RECORDS if name == format]
        path = folder / "mutated.jsonl"
        path.write_bytes(b"".join(mutated_line(rng.choice(own), rng) for _ in range(batch)))
        assert read_all(path, None if number // len(RECORDS) % 2 else format) > 0
        if number % 10 == 0:
            try:
                read_tools(path)
            except DataError as error:
                assert error.reason
        done += batch
        number += 1
    return done


def test_every_format_has_a_sample() -> None:
    assert {format_name(format, FORMATS) for format, _ in RECORDS} == set(FORMATS)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(seed=st.integers(0, 2**32), index=st.integers(0, len(RECORDS) - 1), named=st.booleans())
def test_a_mutated_record_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int, index: int, named: bool
) -> None:
    format, record = RECORDS[index]
    path = tmp_path_factory.getbasetemp() / "mutated.jsonl"
    path.write_bytes(mutated_line(record, Random(seed)))
    assert read_all(path, format if named else None) >= 0


def test_thousands_of_mutated_records(tmp_path: Path) -> None:
    assert work_through(tmp_path, seed=0, records=4_000, batch=50) == 4_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_million_mutated_records(tmp_path: Path, seed: int) -> None:
    """In four parts, which can run side by side."""
    assert work_through(tmp_path, seed, records=250_000) == 250_000
