"""Where records come from, what is said about those that cannot be read, and the tools of files without any."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.format_samples import LLAMA_FACTORY, OPENAI, SEALTOOLS, TAUBENCH, TIME, TOOLALPACA_TEST, WEATHER, WRAPPED

from tltrain.errors import DataError
from tltrain.formats import Problem, convert, format_name, infer_tools, read, read_tools
from tltrain.formats.tools import json_type, tool_of
from tltrain.trajectory import Call, Message, Tool

PLAIN = {"messages": [{"role": "user", "content": "hi"}]}
WEATHER_TOOL = Tool("get_weather", "Weather of a city", WEATHER["parameters"])
TIME_TOOL = Tool("get_time", "Local time", TIME["parameters"])


def lines(*values: Any) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values)


def file(folder: Path, text: str, name: str = "logs.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(DataError) as raised:
        list(read(path, **options))
    return str(raised.value)


def test_wrong_input_is_named_with_file_and_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    assert refusal(missing) == f"{missing}: no such file or folder"
    assert refusal(file(tmp_path, "")).endswith("logs.jsonl: the file is empty: no records in it")
    assert refusal(file(tmp_path, "[]")).endswith("logs.jsonl: the file is empty: no records in it")
    broken = file(tmp_path, lines(*[PLAIN] * 36, '{"messages": [}', PLAIN))
    assert refusal(broken) == f"{broken}:37: invalid JSON: expecting value, at column 15: '}}'"
    assert refusal(broken, format="nonsense").startswith("unknown format 'nonsense': expected one of tau-bench, toolbe")
    unknown = file(tmp_path, lines({"a": 1}))
    assert refusal(unknown).startswith(f"{unknown}: no known format: tried tau-bench, toolbench, rotbench")
    assert refusal(unknown, format="openai") == f"{unknown}:1: messages: expected list, but it is missing"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty).startswith(f"{empty}: no .json, .jsonl, .ndjson, .json.gz")
    table = file(tmp_path, "a,b\n", "logs.csv")
    assert refusal(table) == f"{table}: CSV cannot hold conversations: expected JSON, JSON Lines or Parquet"
    assert "needs pyarrow" in refusal(file(tmp_path, "", "logs.parquet")) or find_spec("pyarrow")
    assert "tool specifications, but no trajectories" in refusal(file(tmp_path, lines(WEATHER, TIME)))
    assert "tool specifications, but no trajectories" in refusal(file(tmp_path, lines({"tools": WRAPPED})))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "bot"}, "messages[1].role: expected system, user, assistant or tool, got 'bot'"),
        ({"role": "user", "content": 3}, "messages[1].content: expected text or list of parts, got number"),
        (
            {"role": "user", "content": [{"type": "image_url"}]},
            "messages[1].content[0].type: expected text (only text can be read), got 'image_url'",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": 3}}]},
            "messages[1].tool_calls[0].function.name: expected text, got number",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]},
            "messages[1].tool_calls[0].function.arguments: expected text or object, got list",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a":' * 100_000}}]},
            "messages[1].tool_calls[0].function.arguments: nested deeper than 256 levels",
        ),
        ({"role": "assistant", "tool_calls": {}}, "messages[1].tool_calls: expected list, got object"),
        ({"role": "assistant", "weight": "0"}, "messages[1].weight: expected number, got text"),
        ("hi", "messages[1]: expected object, got text"),
    ],
)
def test_a_wrong_field_is_named(message: Any, reason: str, tmp_path: Path) -> None:
    path = file(tmp_path, lines(PLAIN, {"messages": [*PLAIN["messages"], message]}))
    assert refusal(path) == f"{path}:2: {reason}"


def test_unreadable_records_are_listed_and_skipped(tmp_path: Path) -> None:
    path = file(tmp_path, lines('{"a', PLAIN, '{"messages": 3}', '{"messages": NaN}', PLAIN))
    problems: list[Problem] = []
    found = list(read(path, strict=False, problems=problems))
    assert [trajectory.source for trajectory in found] == [f"{path}:2", f"{path}:5"]
    assert [(problem.path, problem.line) for problem in problems] == [(str(path), line) for line in (1, 3, 4)]
    assert [problem.reason for problem in problems[1:]] == [
        "messages: expected list, got number",
        "NaN is not a JSON value",
    ]


def test_a_folder_is_read_in_order_each_file_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    file(tmp_path, lines(OPENAI), "logs/b.json")
    file(tmp_path, lines(LLAMA_FACTORY), "logs/a.ndjson")
    pretty = json.dumps([TAUBENCH, TAUBENCH], indent=1)
    second = pretty.splitlines().index(" {", 2) + 1
    file(tmp_path, pretty, "logs/c.jsonl")
    file(tmp_path, "not read", "logs/README.md")
    bad = file(tmp_path, lines({"a": 1}), "logs/d.json")
    problems: list[Problem] = []
    found = list(read(folder, strict=False, problems=problems))
    assert [Path(str(one.source)).name for one in found] == ["a.ndjson:1", "b.json:1", "c.jsonl:2", f"c.jsonl:{second}"]
    assert [problem.path for problem in problems] == [str(bad)]
    assert refusal(folder).startswith(f"{bad}: no known format")


def test_gzip_files_are_read_as_they_are(tmp_path: Path) -> None:
    content = gzip.compress(lines(PLAIN, OPENAI).encode())
    path = tmp_path / "logs.jsonl.gz"
    path.write_bytes(content)
    assert [trajectory.source for trajectory in read(tmp_path)] == [f"{path}:1", f"{path}:2"]
    path.write_bytes(content[:-20])
    assert refusal(path).startswith(f"{path}: cannot be read as gzip: ")
    problems: list[Problem] = []
    list(read(path, strict=False, problems=problems))
    assert [problem.line for problem in problems] == [None]


def test_parquet_files_are_read(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "logs.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([PLAIN, OPENAI]), path)
    assert [len(found.messages) for found in read(path)] == [len(PLAIN["messages"]), len(OPENAI["messages"])]


def test_parquet_columns_beside_the_messages_are_read_as_text(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "logs.parquet"
    columns = {
        "created": datetime(2024, 1, 2),
        "cost": Decimal("1.50"),
        "raw": b"x\xff",
        "score": float("nan"),
        "scores": [1.0, float("inf")],
    }
    parquet.write_table(pyarrow.Table.from_pylist([PLAIN | columns]), path)
    (found,) = read(path)
    assert found.extra == {"created": "2024-01-02 00:00:00", "cost": "1.50", "raw": "x\ufffd", "scores": [1.0, None]}


def test_a_parquet_column_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "logs.parquet"
    beyond_python = pyarrow.array([2**60], pyarrow.timestamp("ms"))
    parquet.write_table(pyarrow.Table.from_pylist([PLAIN]).append_column("created", beyond_python), path)
    assert refusal(path).startswith(f"{path}: cannot be read as Parquet: column 'created': ")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(lines(PLAIN, OPENAI).encode())

    monkeypatch.setattr(sys, "stdin", Input)
    assert [trajectory.source for trajectory in read("-")] == ["<stdin>:1", "<stdin>:2"]


@pytest.mark.parametrize(
    "text",
    [
        lines({"tools": WRAPPED}, PLAIN, PLAIN),
        lines({"tools": WRAPPED, "samples": [PLAIN, PLAIN]}),
        json.dumps({"tools": WRAPPED, "trajectories": [PLAIN, PLAIN]}, indent=2),
        json.dumps([{"tools": WRAPPED}, PLAIN, PLAIN]),
    ],
)
def test_tools_given_once_for_a_file(text: str, tmp_path: Path) -> None:
    found = list(read(file(tmp_path, text)))
    assert [trajectory.tools for trajectory in found] == [(WEATHER_TOOL, TIME_TOOL)] * 2


def test_a_samples_own_tools_come_first(tmp_path: Path) -> None:
    path = file(tmp_path, lines({"tools": WRAPPED}, PLAIN | {"tools": [TIME]}, PLAIN | {"tools": []}))
    assert [trajectory.tools for trajectory in read(path, tools=[WEATHER_TOOL])] == [(TIME_TOOL,), ()]


def test_a_refusal_is_one_line_whatever_the_keys_of_the_data(tmp_path: Path) -> None:
    """Seen among a million mutated records: a tool of ToolAlpaca whose name has line breaks."""
    described = {"components": "", "a\nb\u2028c": 'Weather.\nParameters: {"city" "Required. string."}\nOutput: x'}
    path = file(tmp_path, lines(TOOLALPACA_TEST | {"Function_Description": described}))
    problems: list[Problem] = []
    assert not list(read(path, "toolalpaca", strict=False, problems=problems))
    (problem,) = problems
    assert problem.reason.startswith("Function_Description.a\\nb\\u2028c: invalid JSON: ")


def test_errors_inside_one_object_of_samples_say_which(tmp_path: Path) -> None:
    path = file(tmp_path, lines({"samples": [PLAIN, {"messages": [{"role": "user"}, {}]}]}))
    assert refusal(path) == f"{path}:1: samples[1].messages[1].role: expected text, but it is missing"


@pytest.mark.parametrize("text", [json.dumps(OPENAI["messages"]), lines(*OPENAI["messages"])])
def test_a_file_of_messages_is_one_conversation(text: str, tmp_path: Path) -> None:
    (found,) = read(file(tmp_path, text))
    assert [message.role for message in found.messages] == [one["role"] for one in OPENAI["messages"]]
    assert [tool.inferred for tool in found.tools] == [True, True]


def test_lines_of_messages_are_a_conversation_each(tmp_path: Path) -> None:
    found = list(read(file(tmp_path, lines(OPENAI["messages"], PLAIN["messages"]))))
    assert [len(one.messages) for one in found] == [len(OPENAI["messages"]), 1]


def test_format_names() -> None:
    known = ["ms-swift", "llama-factory", "openai"]
    assert [format_name(name, known) for name in ("MS_Swift", "sharegpt", "LLaMA-Factory", "swift")] == [
        "ms-swift",
        "llama-factory",
        "llama-factory",
        "ms-swift",
    ]


def test_inferred_tools_are_marked_and_stay_so(tmp_path: Path) -> None:
    calls = (
        Call("f", {"a": 1, "b": None, "c": [1]}),
        Call("g", "broken"),
        Call("f", {"a": 0.5, "b": "x", "d": True}),
    )
    tools = infer_tools([Message("assistant", calls=calls)])
    types = {name: schema["type"] for name, schema in tools[0].properties.items()}
    assert types == {"a": "number", "b": ["null", "string"], "c": "array", "d": "boolean"}
    assert [(tool.name, tool.inferred, tool.required) for tool in tools] == [("f", True, ()), ("g", True, ())]
    (log,) = read(file(tmp_path, lines(TAUBENCH)))
    convert(tmp_path / "logs.jsonl", tmp_path / "out.jsonl", "openai")
    (back,) = read(tmp_path / "out.jsonl")
    assert back.tools == log.tools
    assert back.tools[0].inferred


MCP = {"name": "get_weather", "description": "Weather of a city", "inputSchema": WEATHER["parameters"]}
ANTHROPIC = {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER["parameters"]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([WRAPPED[0]]),
        json.dumps([WEATHER]),
        lines(WEATHER),
        json.dumps({"tools": [WRAPPED[0]]}, indent=2),
        json.dumps({"functions": [WEATHER]}),
        json.dumps({"tools": [MCP]}),
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP]}}),
        json.dumps([ANTHROPIC]),
        json.dumps(PLAIN | {"tools": [WEATHER]}),
        lines(PLAIN | {"tools": [WEATHER]}, PLAIN | {"tools": [WEATHER]}),
    ],
)
def test_tool_lists_in_every_form(text: str, tmp_path: Path) -> None:
    assert read_tools(file(tmp_path, text)) == [WEATHER_TOOL]


def test_sealtools_tool_list(tmp_path: Path) -> None:
    written = {
        "api_name": "get_city",
        "api_description": "Where a person lives",
        "field": "People",
        "parameters": {"person": {"type": "str", "description": "Who"}, "year": {"type": "int"}},
        "required": ["person"],
        "responses": {"city": {"type": "str"}},
    }
    (tool,) = read_tools(file(tmp_path, lines(written), "tool.jsonl"))
    properties = {"person": {"type": "string", "description": "Who"}, "year": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["person"]}
    extra = {"field": "People", "responses": written["responses"]}
    assert tool == Tool("get_city", "Where a person lives", schema, extra=extra)
    (trajectory,) = read(file(tmp_path, lines(SEALTOOLS)), tools=[tool])
    assert trajectory.tools == (tool,)


def test_tool_lists_that_cannot_be_read_say_where(tmp_path: Path) -> None:
    path = file(tmp_path, json.dumps({"tools": [WEATHER, {"name": "f", "parameters": 3}]}))
    with pytest.raises(DataError, match=r"logs\.jsonl:1: tools\[1\]\.parameters: expected object, got number"):
        read_tools(path)
    with pytest.raises(DataError, match="no such file"):
        read_tools(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_tools(tmp_path)
    with pytest.raises(DataError, match="the file is empty"):
        read_tools(file(tmp_path, "\n"))


def test_a_schema_that_refers_to_itself_is_carried(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    path = file(tmp_path, lines(PLAIN | {"tools": [{"name": "f", "parameters": schema}]}))
    (trajectory,) = read(path)
    assert trajectory.tools[0].parameters == schema


def test_a_schema_is_no_table_of_arguments() -> None:
    for schema in ({}, {"type": "object"}, {"properties": {}}, {"$defs": {"a": {"type": "string"}}}, {"anyOf": []}):
        assert tool_of({"name": "f", "parameters": schema}).parameters == schema
    table = {"type": {"type": "str"}}
    assert tool_of({"name": "f", "parameters": table}).properties == {"type": {"type": "string"}}
    wrapped = {"type": "function", "function": {"name": "f", "parameters": table}}
    assert tool_of(wrapped).parameters == table


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("str, optional", {"type": "string"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        (
            "Optional[List[List[float]]], optional",
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ),
        ("Dict[str, Any]", {"type": "object"}),
        ("Tuple[float, float]", {"type": "array"}),
        ("Callable[[float], float]", {"x-type": "Callable[[float], float]"}),
        ("bool", {"type": "boolean"}),
    ],
)
def test_types_as_python_writes_them(written: str, schema: dict[str, Any]) -> None:
    assert json_type(written) == schema


def test_reading_needs_no_torch() -> None:
    code = "import sys, tltrain.formats; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_quoted_tag_does_not_decide_the_format_of_a_file(tmp_path: Path) -> None:
    """One thought mentions `<tool_call>`; every record has LLaMA-Factory's `system` or turns, which must be kept."""
    thought = "<think>\nI answer in <tool_call> tags.\n</think>\n\n"
    call = {"from": "function_call", "value": thought + json.dumps({"name": "get_time", "arguments": {}})}
    user = {"from": "human", "value": "hi"}
    quoted = {"system": "Be brief.", "conversations": [user, {"from": "gpt", "value": thought + "Hello."}]}
    records = [quoted, {"system": "Be kind.", "conversations": [user, call]}]
    found = list(read(file(tmp_path, lines(*records))))
    assert [one.messages[0] for one in found] == [Message("system", "Be brief."), Message("system", "Be kind.")]
    assert found[1].messages[2].calls == (Call("get_time"),)
    first, _ = read(file(tmp_path, lines(*reversed(records))))
    assert first.messages[0].content == "Be kind."
