"""The small world behind the tools: tables in an in-memory SQLite database, filled from a seed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

Row = dict[str, Any]
Builder = Callable[["World", Random], None]

FIRST_NAMES = (
    *("Amina", "Björn", "Carla", "Daniel", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Liam"),
    *("Maria", "Noah", "Olga", "Pablo", "Rosa", "Samir", "Tara", "Umar", "Vera", "Wei", "Yuki", "Zoe"),
)
LAST_NAMES = (
    *("Abbas", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova", "Jensen", "Keller"),
    *("Lindgren", "Moreau", "Nakamura", "Okafor", "Petrov", "Quinn", "Rossi", "Schmidt", "Tanaka", "Ueda", "Varga"),
)
CITIES = (
    *("Amsterdam", "Athens", "Berlin", "Bergen", "Cork", "Dublin", "Florence", "Geneva", "Hamburg", "Helsinki"),
    *("Lisbon", "Lyon", "Madrid", "Milan", "Naples", "Oslo", "Porto", "Prague", "Riga", "Turin", "Vienna", "Zagreb"),
)
FIRST_DAY = date(2025, 3, 1)
DAYS = tuple((FIRST_DAY + timedelta(days=offset)).isoformat() for offset in range(122))
"""Every day in the world, as YYYY-MM-DD: March to June 2025."""
MONTHS = ("2025-03", "2025-04", "2025-05", "2025-06")


def people(rng: Random, count: int) -> list[str]:
    """Draw `count` distinct full names."""
    return rng.sample([f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES], count)


class World:
    """An in-memory database. The same seed and builders always produce the same rows."""

    def __init__(self, seed: int, builders: Sequence[Builder]) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._cache: dict[str, list[Row]] = {}
        self.seed = seed
        for position, build in enumerate(builders):
            build(self, Random(seed * 1_000 + position))

    def create(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Create a table; `columns` is a comma-separated list of names and constraints."""
        self._connection.execute(f"CREATE TABLE {table} ({columns})")
        for row in rows:
            self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return every row of a query."""
        cursor = self._connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def first(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a query, or None if there is none."""
        rows = self.all(sql, *values)
        return rows[0] if rows else None

    def require(self, absence: str, sql: str, *values: Any) -> Row:
        """Return the first row of a query; raise `LookupError` with the message `absence` if there is none."""
        row = self.first(sql, *values)
        if row is None:
            raise LookupError(absence)
        return row

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement that modifies rows and return their number."""
        return self._connection.execute(sql, values).rowcount

    def next_number(self, table: str) -> int:
        """Return the number for the id of a new row of `table`; ids start at 100."""
        return 100 + int(self._connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0])

    def cached_rows(self, sql: str) -> list[Row]:
        """Return rows of the unmodified world, from which tasks are drawn; cached after the first query."""
        if sql not in self._cache:
            self._cache[sql] = self.all(sql)
        return self._cache[sql]

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Roll back every change made inside the context; may be nested."""
        self._connection.execute("SAVEPOINT scratch")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK TO scratch")
            self._connection.execute("RELEASE scratch")


def check_day(text: str) -> str:
    """Return the day; raise the standard library's `ValueError` unless it is YYYY-MM-DD."""
    return datetime.strptime(text, "%Y-%m-%d").date().isoformat()


def check_month(text: str) -> str:
    """Return the month; raise `ValueError` unless it is YYYY-MM."""
    datetime.strptime(text, "%Y-%m")
    return text


def check_time(text: str) -> str:
    """Return the time; raise `ValueError` unless it is HH:MM."""
    datetime.strptime(text, "%H:%M")
    return text
