"""The little world behind the tools: tables in an in-memory SQLite database, filled from a seed."""

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
"""Every day the world knows of, as YYYY-MM-DD: March to June 2025."""
MONTHS = ("2025-03", "2025-04", "2025-05", "2025-06")


def people(rng: Random, count: int) -> list[str]:
    """`count` different full names."""
    return rng.sample([f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES], count)


class World:
    """One database. The same seed and builders always give the same rows."""

    def __init__(self, seed: int, builders: Sequence[Builder]) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._drawn: dict[str, list[Row]] = {}
        self.seed = seed
        for position, build in enumerate(builders):
            build(self, Random(seed * 1_000 + position))

    def create(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """A new table; `columns` are names and constraints between commas."""
        self._connection.execute(f"CREATE TABLE {table} ({columns})")
        for row in rows:
            self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Every row of a query."""
        cursor = self._connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, None where there is none."""
        rows = self.all(sql, *values)
        return rows[0] if rows else None

    def need(self, absence: str, sql: str, *values: Any) -> Row:
        """The first row of a query; a `LookupError` that says `absence` where there is none."""
        row = self.one(sql, *values)
        if row is None:
            raise LookupError(absence)
        return row

    def run(self, sql: str, *values: Any) -> int:
        """Change rows; how many were changed."""
        return self._connection.execute(sql, values).rowcount

    def next_number(self, table: str) -> int:
        """The number for the id of a new row of `table`; ids count up from 100."""
        return 100 + int(self._connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0])

    def known(self, sql: str) -> list[Row]:
        """Rows of an untouched world, kept after the first time: what tasks are made from."""
        if sql not in self._drawn:
            self._drawn[sql] = self.all(sql)
        return self._drawn[sql]

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Whatever happens inside is undone at the end; may be nested."""
        self._connection.execute("SAVEPOINT scratch")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK TO scratch")
            self._connection.execute("RELEASE scratch")


def check_day(text: str) -> str:
    """The day itself; a `ValueError`, in the words of the standard library, where it is no YYYY-MM-DD."""
    return datetime.strptime(text, "%Y-%m-%d").date().isoformat()


def check_month(text: str) -> str:
    """The month itself; a `ValueError` where it is no YYYY-MM."""
    datetime.strptime(text, "%Y-%m")
    return text


def check_time(text: str) -> str:
    """The time itself; a `ValueError` where it is no HH:MM."""
    datetime.strptime(text, "%H:%M")
    return text
