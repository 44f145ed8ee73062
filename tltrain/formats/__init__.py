"""Reading and writing trajectories in common file formats, which are detected from the content.

`read` yields trajectories in constant memory; `write`, `write_steps` and `convert` write them; `read_tools` reads lists
of tool specifications. Each format is one file; `FORMATS` lists them.
"""

from __future__ import annotations

from tltrain.formats.found import Found
from tltrain.formats.reading import Problem, read, read_tools
from tltrain.formats.table import FORMATS, STEP_WRITERS, WRITERS, format_name
from tltrain.formats.tools import infer_tools
from tltrain.formats.writing import convert, path_and_line, write, write_records, write_steps

__all__ = [
    "FORMATS",
    "STEP_WRITERS",
    "WRITERS",
    "Found",
    "Problem",
    "convert",
    "format_name",
    "infer_tools",
    "path_and_line",
    "read",
    "read_tools",
    "write",
    "write_records",
    "write_steps",
]
