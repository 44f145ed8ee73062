"""What is said about the content of data files: format, trajectories, tools, fields that are not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import call
from support.format_samples import HERMES, LLAMA_FACTORY, OPENAI, SAMPLES, TAUBENCH

from tltrain.formats import Found, read


def file(folder: Path, *records: Any, name: str = "logs.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def lines(path: Path, **options: Any) -> list[str]:
    found = Found()
    list(read(path, found=found, **options))
    return [line.removeprefix("x: ") for line in found.lines("x")]


def test_format_trajectories_and_tools(tmp_path: Path) -> None:
    assert lines(file(tmp_path, OPENAI, OPENAI)) == ["openai, 2 trajectories, 2 tools"]
    without = {key: value for key, value in OPENAI.items() if key != "tools"}
    assert lines(file(tmp_path, without)) == ["openai, 1 trajectory, 2 tools inferred from the calls"]
    file(tmp_path, LLAMA_FACTORY, name="more.jsonl")
    file(tmp_path, OPENAI, name="third.jsonl")
    assert lines(tmp_path) == ["openai (2 files), llama-factory, 3 trajectories, 2 tools"]


def test_unknown_fields_are_counted(tmp_path: Path) -> None:
    path = file(tmp_path, OPENAI | {"score": 1, "source": "x"}, OPENAI | {"score": 2}, OPENAI)
    assert lines(path)[1:] == [
        "unknown field 'score' in 2 records: openai has no such field, so it is not used",
        "unknown field 'source' in 1 record: openai has no such field, so it is not used",
    ]
    many = {f"field{number}": number for number in range(25)}
    assert lines(file(tmp_path, OPENAI | many))[-1] == "5 more unknown fields, not used"


@pytest.mark.parametrize("format", SAMPLES)
def test_no_reader_drops_an_unknown_field_silently(format: str, tmp_path: Path) -> None:
    for record in SAMPLES[format]:
        assert len(lines(file(tmp_path, record), format=format)) == 1
        assert any("'zebra'" in line for line in lines(file(tmp_path, record | {"zebra": 1}), format=format))


def test_known_annotations_are_not_unknown(tmp_path: Path) -> None:
    assert len(lines(file(tmp_path, TAUBENCH))) == 1


def sharegpt(reply: str, system: str | None = None) -> dict[str, Any]:
    record = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": reply}], "tools": "[]"}
    return record if system is None else record | {"system": system}


def test_a_thought_that_mentions_a_tag_does_not_make_a_file_hermes(tmp_path: Path) -> None:
    records = [sharegpt("Hello."), sharegpt("I should write a <tool_call> here."), sharegpt("Bye.")]
    assert lines(file(tmp_path, *records))[0].startswith("llama-factory, 3 trajectories")
    with_system = [sharegpt("Write <tool_call>.", "Be brief.") for _ in range(3)]
    (first, *_) = read(file(tmp_path, *with_system))
    assert (first.messages[0].role, first.messages[0].content) == ("system", "Be brief.")


def test_tags_that_are_used_make_a_file_hermes(tmp_path: Path) -> None:
    call_in_reply = sharegpt('<tool_call>{"name": "f", "arguments": {}}</tool_call>')
    assert lines(file(tmp_path, sharegpt("Hello."), call_in_reply))[0].startswith("hermes, 2 trajectories")
    assert lines(file(tmp_path, HERMES))[0].startswith("hermes, 1 trajectory")


def test_convert_prints_what_it_found(tmp_path: Path) -> None:
    logs = file(tmp_path, OPENAI | {"score": 1})
    code, _, err = call("convert", logs, "--to", "ms-swift", "--out", tmp_path / "out.jsonl")
    assert code == 0
    assert err.startswith(f"{logs}: openai, 1 trajectory, 2 tools\n{logs}: unknown field 'score' in 1 record")
