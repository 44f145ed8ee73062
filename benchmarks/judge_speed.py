"""Judgements per second on one core: `python benchmarks/judge_speed.py [COUNT]`.

Compares predicted texts in each dialect (correct, wrong value, wrong names, wrong tool) with a gold call, given ten
tools. Prints the rate of parsing and judging together, and of judging calls that are already parsed. CPU time is
measured, so that other load on the machine does not affect the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tltrain import dialects
from tltrain.judging import judge
from tltrain.trajectory import Call, Tool

PROPERTIES = {"city": {"type": "string"}, "nights": {"type": "integer"}, "notes": {"type": "string"}}
TOOLS = [Tool(f"book_{kind}", "", {"type": "object", "properties": PROPERTIES}) for kind in "abcdefghij"]
GOLD = Call("book_a", {"city": "Rome", "nights": 2})
PREDICTIONS = [
    GOLD,
    Call("book_a", {"city": "Oslo", "nights": 2}),
    Call("book_a", {"city": "Rome", "night": 2, "notes": "quiet"}),
    Call("book_b", {"city": "Rome", "nights": 2}),
]


def rate(work: Callable[[int], object], count: int) -> float:
    """Calls of `work` per second of CPU time, the best of three runs."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        for number in range(count):
            work(number)
        best = min(best, time.process_time() - started)
    return count / best


def main(count: int) -> None:
    """Print a line for the judge without parsing and for each dialect; each rate is measured on `count` calls."""
    print(f"{'judge only':12} {rate(lambda n: judge([PREDICTIONS[n % 4]], [[GOLD]], TOOLS), count):10,.0f} /s")
    for name in dialects.TEXT_FORMS:
        dialect = dialects.get(name)
        texts = [dialect.format([call]) for call in PREDICTIONS]

        def read_and_judge(number: int, texts: list[str] = texts, dialect: dialects.Dialect = dialect) -> object:
            return judge(dialect.parse(texts[number % 4], TOOLS), [[GOLD]], TOOLS)

        print(f"{name:12} {rate(read_and_judge, count):10,.0f} /s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
