"""Tools as typed functions, for `tltrain try MODEL --tools library.py`; `server.py` offers the same over MCP."""

from __future__ import annotations

BOOKS = {"Emma": "B-1", "Moby Dick": "B-7", "Ulysses": "B-90"}
LOANS = {"R-12": ["L-301"], "R-40": []}


def find_book(title: str) -> str:
    """Find a book by its title.

    Args:
        title: The whole title.
    """
    return BOOKS.get(title) or f"no book with the title {title}"


def get_loans(reader_id: str) -> list[str]:
    """The loans of a reader.

    Args:
        reader_id: Such as R-12.
    """
    if reader_id not in LOANS:
        raise ValueError(f"there is no reader {reader_id}")
    return LOANS[reader_id]
