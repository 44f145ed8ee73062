"""Records at which training would stop, as audits name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import call
from support.micro import micro_trajectories, save_micro

ODD = 'find "any" order'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/` and `odd.jsonl`, whose third line calls a tool whose name templates escape."""
    folder = tmp_path_factory.mktemp("names")
    save_micro(folder / "model")
    first, second, third = (json.dumps(one.to_json()) for one in micro_trajectories(3))
    odd = third if '"get_order"' in third else first
    lines = [first, second, odd.replace('"get_order"', json.dumps(ODD))]
    (folder / "odd.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def warnings(place: Path, out: Path, *options: object) -> list[str]:
    code, written, err = call("audit", place / "odd.jsonl", "--out", out, "--json", *options)
    assert code == 0, err
    found: list[str] = json.loads(written)["warnings"]
    return found


def test_without_a_model_the_name_is_the_reason(place: Path, tmp_path: Path) -> None:
    (said,) = warnings(place, tmp_path)
    assert said.startswith(f"1 record calls a tool whose name contains quotes, backslashes or control characters: "
                           f"{place}/odd.jsonl:3 ({ODD!r})")  # fmt: skip


def test_with_a_model_its_template_decides(place: Path, tmp_path: Path) -> None:
    (said,) = warnings(place, tmp_path, "--model", place / "model")
    reason = f"{place}/odd.jsonl:3: message 1: the chat template does not write the name {ODD!r}"
    assert said.startswith("1 record cannot be encoded with this model") and said.endswith(reason)


def test_a_template_that_refuses_a_message_is_named(place: Path, tmp_path: Path) -> None:
    model = save_micro(tmp_path / "model")
    path = model / "chat_template.jinja"
    refuse = "{%- if messages[0].content.endswith('A-1?') %}{{ raise_exception('no such order') }}{% endif %}"
    path.write_text(refuse + path.read_text())
    (said,) = warnings(place, tmp_path, "--model", model)
    assert (
        said.startswith("2 records cannot be encoded")
        and "odd.jsonl:2: message 0: the chat template fails: no such order" in said
    )
