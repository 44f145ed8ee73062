"""An audit from end to end: read, count (in several processes where there is much to count), write."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tltrain.audit.compare import compare as compared
from tltrain.audit.feedback import Mode
from tltrain.audit.lengths import Characters, Tokens
from tltrain.audit.page import audit_page
from tltrain.audit.statistics import PROBLEMS_SHOWN, Statistics, count
from tltrain.errors import DataError, RunError
from tltrain.files import write_json, write_text
from tltrain.formats import Problem, read
from tltrain.trajectory import Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 500
POOL_FROM = 4_000
"""Trajectories from which starting processes (about three seconds each) is worth it."""

Chunk = tuple[int, list[Trajectory]]
"""Number of the first trajectory, from 0, and some trajectories."""


def audit(
    trajectories: Iterable[Trajectory],
    mode: Mode = "default",
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """The audit of a data set, as plain JSON values, in one pass and in bounded memory (0.5 KB a trajectory).

    Args:
        tokenizer: a fast tokenizer with a chat template; lengths are in its tokens, else in characters.
        max_length: a length limit in tokens to report on, beside the usual ones.
        progress: told the number of trajectories counted so far.
        workers: processes to count in. More than one needs the caller's main module to be importable (`spawn`).

    Returns:
        `headline`: one sentence. `mode`.
        `trajectories`: `total`, `messages`, `replies`, `with_failed_calls`, `with_parallel_calls`, `without_calls`,
        `calls_each` (a spread), `endings` {how: number}, `without_answer`, `labelled_replies`.
        `calls`: `total`, `failed`, `share` (0 to 1), `with_feedback`, `put_right` (failed calls after which the next
        reply's calls all work), `by_category` {category: failed calls, each in the first that applies},
        `any_fault` {category: failed calls with that fault}, `by_tool`, `by_step`, `failures` (kinds with examples),
        `unknown_tools`, `unknown_arguments` (hallucinated names and the nearest given one).
        `readers`: the 2x2 table of the schema and the feedback reader, `agreement`, `kappa`.
        `tools`: `distinct`, `never_used`, `invalid`, `confusable`, and more.
        `mae`: replies masked, and how much of the replies' length is `masked` and `kept`.
        `lengths`: spread, `histogram`, `limits` (what each would cut), `refused` (by the chat template).
        `duplicates`: `exact` and `near`. `labels`: MAE against labels, None where the data have none.
        A spread is `{number, sum, mean, min, max, p5, p25, p50, p75, p95, p99}`; shares have four digits.

    Raises:
        ModelError: the tokenizer is of no use for this.
    """
    chunks = _chunks(trajectories)
    head = list(islice(chunks, POOL_FROM // CHUNK)) if workers > 1 else []
    if len(head) == POOL_FROM // CHUNK:
        parts = _in_processes(_chain(head, chunks), mode, tokenizer, workers)
    else:
        ruler = _ruler(tokenizer)
        parts = (count(part, mode, ruler, start) for start, part in _chain(head, chunks))
    statistics = Statistics(mode)
    for part in parts:
        statistics.merge(part)
        if progress is not None:
            progress(statistics.trajectories)
    return statistics.to_json(_ruler(tokenizer).unit, max_length)


def run_audit(
    data: str,
    out: Path,
    format: str | None = None,
    tools: Sequence[Tool] | None = None,
    strict: bool = False,
    model: str | None = None,
    max_length: int | None = None,
    mode: Mode = "default",
    compare: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Audit a file, folder or the standard input ("-") and write `audit.json` and `audit.html` into `out`, each whole.

    `format`, `tools` and `strict` are those of `formats.read`, also for the data set `compare`. The result has the keys
    of `audit` and `data`, `model`, `problems` {`number`, `shown`: rows of `path`, `line`, `reason`}, and `comparison`
    (see `compare.compare`; None without another data set).

    Raises:
        RunError: `out` cannot be written to.
        DataError: nothing can be read, or with `strict` not all of it.
        ModelError: the model's tokenizer cannot be loaded.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be written to: {error.strerror}") from None
    tokenizer = None if model is None else _tokenizer(model)

    def one(source: str) -> dict[str, Any]:
        problems: list[Problem] = []
        trajectories = read(source, format, tools, strict, problems)
        with _progress(source) if progress else nullcontext() as tell:
            found = audit(trajectories, mode, tokenizer, max_length, tell, workers=_cores())
        if not found["trajectories"]["total"]:
            first = f": {problems[0].reason}" if problems else ""
            raise DataError(f"no trajectory could be read{first}", source, problems[0].line if problems else None)
        shown = [asdict(problem) for problem in problems[:PROBLEMS_SHOWN]]
        return {"data": source, "model": model, **found, "problems": {"number": len(problems), "shown": shown}}

    result = one(data)
    other = None if compare is None else one(compare)
    result["comparison"] = None if other is None else compared(result, other)
    write_json(out / "audit.json", result)
    write_text(out / "audit.html", audit_page(result, other))
    return result


def _chunks(trajectories: Iterable[Trajectory]) -> Iterator[Chunk]:
    source = iter(trajectories)
    start = 0
    while chunk := list(islice(source, CHUNK)):
        yield start, chunk
        start += len(chunk)


def _chain(head: list[Chunk], rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield from head
    yield from rest


def _ruler(tokenizer: PreTrainedTokenizerBase | None) -> Tokens | Characters:
    return Characters() if tokenizer is None else Tokens(tokenizer)


_worker: dict[str, Any] = {}
"""In a worker process: the mode and the ruler it counts with."""


def _in_processes(
    chunks: Iterator[Chunk], mode: Mode, tokenizer: PreTrainedTokenizerBase | None, workers: int
) -> Iterator[Statistics]:
    """The statistics of the chunks, in order; few chunks wait at any time, however many there are."""
    arguments = (mode, tokenizer)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start, initargs=arguments) as pool:
        waiting: deque[Future[Statistics]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_count, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _start(mode: Mode, tokenizer: PreTrainedTokenizerBase | None) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes share the cores already
    _worker.update(mode=mode, ruler=_ruler(tokenizer))


def _count(chunk: Chunk) -> Statistics:
    start, trajectories = chunk
    return count(trajectories, _worker["mode"], _worker["ruler"], start)


def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from tltrain.model import load_tokenizer

    return load_tokenizer(model)


def _cores() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@contextmanager
def _progress(source: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on the error output: the share of a JSON Lines file's lines, of anything else a count."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"auditing {Path(source).name}", total=_lines(Path(source)))
        yield lambda done: bar.update(task, completed=done)


def _lines(path: Path) -> int | None:
    """Lines of a JSON Lines file; None for anything else."""
    if path.suffix not in (".jsonl", ".ndjson") or not path.is_file():
        return None
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
