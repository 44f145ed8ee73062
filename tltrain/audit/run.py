"""An audit from end to end: read the data, count (in several processes for large data), write `audit.json`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain.audit.compare import compare as compared
from tltrain.audit.feedback import Mode
from tltrain.audit.lengths import Characters, Tokens
from tltrain.audit.names import escaped_names_warning, noting, noting_escaped_names, refused_warning
from tltrain.audit.statistics import PROBLEMS_SHOWN, Statistics, count
from tltrain.errors import DataError, RunError
from tltrain.files import write_json
from tltrain.formats import Found, Problem, read
from tltrain.progress import ProgressFactory, no_progress_factory
from tltrain.trajectory import Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 500
POOL_FROM = 4_000
"""Number of trajectories from which starting worker processes (about three seconds each) pays off."""

Chunk = tuple[int, list[Trajectory]]
"""Some consecutive trajectories, with the index of the first of them."""


def audit(
    trajectories: Iterable[Trajectory],
    mode: Mode = "default",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """The audit of a data set, as plain JSON values, in one pass and in bounded memory (0.5 KB a trajectory).

    Args:
        tokenizer: a fast tokenizer with a chat template, to measure lengths in tokens; None for characters.
        max_length: a length limit in tokens to report on, in addition to the usual ones.
        progress: called with the number of trajectories counted so far.
        workers: number of processes. More than one needs the caller's main module to be importable (`spawn`).

    Returns:
        `headline`: the summary. `warnings`: what could not be judged, such as the form of calls of inferred tools.
        `mode`.
        `trajectories`: `total`, `messages`, `replies`, `with_failed_calls`, `with_parallel_calls`, `without_calls`,
        `calls_each` (a spread), `endings` {how: number}, `without_answer`, `labelled_replies`.
        `calls`: `total`, `failed`, `share` (0 to 1), `with_feedback`, `put_right` (failed calls after which all
        calls of the next reply succeed), `form_not_judged` (calls of inferred tools, with an object as arguments),
        `not_judged` (those of them with neither feedback nor label), `by_category` {category: failed calls, each in
        the first that applies}, `any_fault` {category: failed calls with that fault}, `by_tool`, `by_step`, `failures`
        (kinds with examples), `unknown_tools`, `unknown_arguments` (hallucinated names and the nearest existing name).
        `readers`: the 2x2 table of the schema and the feedback detector, `agreement`, `kappa`.
        `tools`: `distinct`, `never_used`, `invalid`, `confusable`, and more.
        `mae`: replies masked, and how much of the replies' length is `masked` and `kept`.
        `lengths`: spread, `histogram`, `limits` (what each would truncate), `refused` (by the chat template).
        `duplicates`: `exact` and `near`. `labels`: MAE compared with labels, None for unlabelled data.
        A spread is `{number, sum, mean, min, max, p5, p25, p50, p75, p95, p99}`; shares have four digits.

    Raises:
        ModelError: the tokenizer is not a fast one, or has no chat template.
    """
    chunks = _chunks(trajectories)
    head = list(islice(chunks, POOL_FROM // CHUNK)) if workers > 1 else []
    if len(head) == POOL_FROM // CHUNK:
        parts = _in_processes(_chain(head, chunks), mode, tokenizer, workers)
    else:
        meter = _length_meter(tokenizer)
        parts = (count(part, mode, meter, start) for start, part in _chain(head, chunks))
    statistics = Statistics(mode)
    for part in parts:
        statistics.merge(part)
        if progress is not None:
            progress(statistics.trajectories)
    return statistics.to_json(_length_meter(tokenizer).unit, max_length)


def run_audit(
    data: str,
    out: Path,
    *,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    strict: bool = False,
    model: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    mode: Mode = "default",
    compare: str | None = None,
    refusal: Callable[[Trajectory], str | None] | None = None,
    progress: ProgressFactory = no_progress_factory,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Audit a file, folder or the standard input ("-"), and write `audit.json` into the folder `out`.

    `format`, `tools` and `strict` are those of `formats.read`, and apply to the data set `compare` too. `tokenizer`
    measures lengths (see `audit`); `model` is its name, as recorded in the audit. `refusal` says why training would
    stop at a trajectory (None: it would not); without it, records are named whose tool names chat templates escape.

    Returns:
        The audit as written, and that of `compare` (or None). They have the keys of `audit` and `data`, `model`,
        `found` (lines: format, numbers of trajectories and tools, unknown fields), `problems` {`number`, `shown`: rows
        of `path`, `line`, `reason`}; the first also has `comparison` (see `compare.compare`; None without another data
        set).

    Raises:
        RunError: `out` cannot be written to.
        DataError: nothing can be read, or with `strict` not everything.
        ModelError: the tokenizer is not a fast one, or has no chat template.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be written to: {error.strerror}") from None

    audit_source = partial(
        _audit_source,
        format=format,
        tools=tools,
        strict=strict,
        model=model,
        tokenizer=tokenizer,
        max_length=max_length,
        mode=mode,
        refusal=refusal,
        progress=progress,
    )
    result, problems = audit_source(data)
    other = None if compare is None else _with_problems(*audit_source(compare))
    comparison = None if other is None else compared(result, other)
    return write_audit(out, result, problems, comparison=comparison), other


def _audit_source(
    source: str,
    *,
    format: str | None,
    tools: Sequence[Tool] | None,
    strict: bool,
    model: str | None,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int | None,
    mode: Mode,
    refusal: Callable[[Trajectory], str | None] | None,
    progress: ProgressFactory,
) -> tuple[dict[str, Any], list[Problem]]:
    """The audit of one data set, and the records that could not be read; arguments as for `run_audit`."""
    problems: list[Problem] = []
    contents, odd = Found(), list[tuple[str, str]]()
    trajectories = read(source, format, tools, strict, problems, contents)
    trajectories = noting_escaped_names(trajectories, odd) if refusal is None else noting(trajectories, refusal, odd)
    found = audit(
        trajectories,
        mode,
        tokenizer=tokenizer,
        max_length=max_length,
        progress=_advance(source, progress),
        workers=_cores(),
    )
    if not found["trajectories"]["total"]:
        reason = f": {problems[0].reason}" if problems else ""
        raise DataError(f"no trajectory could be read{reason}", source, problems[0].line if problems else None)
    if (warning := escaped_names_warning(odd) if refusal is None else refused_warning(odd)) is not None:
        found["warnings"].append(warning)
    return {"data": source, "model": model, "found": contents.lines(source), **found}, problems


def write_audit(folder: Path, audit: Mapping[str, Any], problems: Sequence[Problem], **more: Any) -> dict[str, Any]:
    """Write an audit to `audit.json` in `folder`, atomically, and return what was written.

    `problems` are the records that could not be read; `more` are further top-level keys.
    """
    result = _with_problems(audit, problems) | more
    write_json(folder / "audit.json", result)
    return result


def _with_problems(audit: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    shown = [asdict(problem) for problem in problems[:PROBLEMS_SHOWN]]
    return {**audit, "problems": {"number": len(problems), "shown": shown}}


def _chunks(trajectories: Iterable[Trajectory]) -> Iterator[Chunk]:
    source = iter(trajectories)
    start = 0
    while chunk := list(islice(source, CHUNK)):
        yield start, chunk
        start += len(chunk)


def _chain(head: list[Chunk], rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield from head
    yield from rest


def _length_meter(tokenizer: PreTrainedTokenizerBase | None) -> Tokens | Characters:
    return Characters() if tokenizer is None else Tokens(tokenizer)


_worker: dict[str, Any] = {}
"""The mode and the length measure of a worker process."""


def _in_processes(
    chunks: Iterator[Chunk], mode: Mode, tokenizer: PreTrainedTokenizerBase | None, workers: int
) -> Iterator[Statistics]:
    """The statistics of the chunks, in order; the number of pending chunks is bounded."""
    arguments = (mode, tokenizer)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start, initargs=arguments) as pool:
        pending: deque[Future[Statistics]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_count, chunk))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _start(mode: Mode, tokenizer: PreTrainedTokenizerBase | None) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes share the cores already
    _worker.update(mode=mode, meter=_length_meter(tokenizer))


def _count(chunk: Chunk) -> Statistics:
    start, trajectories = chunk
    return count(trajectories, _worker["mode"], _worker["meter"], start)


def _cores() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _advance(source: str, progress: ProgressFactory) -> Callable[[int], None]:
    """Shows the share of the lines of a JSON Lines file that are read, or a count for anything else."""
    show, total = progress(f"audit {Path(source).name}"), _lines(Path(source)) or 0
    return lambda done: show("trajectories", done, max(total, done) if total else 0)


def _lines(path: Path) -> int | None:
    """The number of lines of a JSON Lines file; None for anything else."""
    if path.suffix not in (".jsonl", ".ndjson") or not path.is_file():
        return None
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
