"""The SFT speed benchmark: its logs are what it says, both sides get the same tokens, its figures add up."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sft_speed import TRL_CANDIDATES, Bench, RunFailedError
from speed.figures import Measured, Size, check, compare, run_figures, side_figures, table
from speed.machine import describe
from speed.process import Job, Outcome, load_model, peak_memory_mb
from speed.size import model_size
from speed.workload import IGNORED, NAMES, Row, distinct_tokens, make_logs, make_row
from support.micro import micro_tokenizer, save_micro

from tltrain import model as models
from tltrain.encode import Encoder

OUTCOME = Outcome(10.0, [2.0], 30, 400, 20, 900.0, {}, {})


@pytest.fixture(scope="module")
def tokenizer() -> object:
    folder = models.cache_folder() / "models" / f"{models.BUILTIN}-{models.CONVERSION}"
    if not folder.is_dir():
        pytest.skip("needs the built-in model (tltrain fetch smollm2-135m)")
    return models.load_tokenizer(str(folder), "hermes")


# Logs


def test_tool_sets_are_shared_or_own() -> None:
    shared, own = make_logs("shared", 6, seed=1), make_logs("own", 6, seed=1)
    assert len({tuple(tool.name for tool in log.tools) for log in shared}) == 1
    assert len({frozenset(tool.name for tool in log.tools) for log in own}) == 6
    assert len({log.messages[0].content for log in shared + own}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_logs_are_seeded_and_sound(name: str) -> None:
    logs = make_logs(name, 4, seed=2)
    assert logs == make_logs(name, 4, seed=2)
    assert logs != make_logs(name, 4, seed=3)
    assert [sum(message.role == "user" for message in log.messages) for log in logs] == [1, 2, 1, 2]
    for log in logs:
        assert [message.role for message in log.messages].count("system") == 1
        assert all(site.feedback is not None for site in log.call_sites())


@pytest.mark.parametrize(("name", "length", "tools", "share"), [("shared", 2160, 1900, 0.08), ("own", 1369, 1100, 0.1)])
def test_lengths_in_tokens(tokenizer: object, name: str, length: int, tools: int, share: float) -> None:
    encoder = Encoder(tokenizer, mae=False, pkt=False)
    logs = make_logs(name, 24, seed=0)
    rows = [make_row(log, encoder) for log in logs]
    systems = [len(encoder.prompt_ids(replace(log, messages=log.messages[:1]))) for log in logs]
    total = sum(len(row.input_ids) for row in rows)
    assert total / 24 == pytest.approx(length, rel=0.05)
    assert sum(systems) / 24 == pytest.approx(tools, rel=0.05)
    assert sum(row.trained for row in rows) / total == pytest.approx(share, rel=0.15)
    assert distinct_tokens(rows, 8) / total < (0.3 if name == "shared" else 1)


def test_a_row_trains_on_replies_only() -> None:
    tokenizer = micro_tokenizer()
    log = make_logs("own", 2, seed=0)[1]
    row = make_row(log, Encoder(tokenizer, mae=False, pkt=False))
    assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    trained = tokenizer.decode([label for label in row.labels if label != IGNORED])
    replies = [message for _, message in log.replies()]
    assert trained.count("<|im_end|>") == len(replies)
    assert all((message.content or "") in trained for message in replies)
    assert not any(message.content in trained for message in log.messages if message.role in ("system", "user"))


def test_distinct_tokens() -> None:
    rows = [Row(ids, ids) for ids in ([1, 2, 3], [1, 2, 4, 5], [9], [1, 2, 3], [1, 2])]
    assert distinct_tokens(rows, 1) == 13
    assert distinct_tokens(rows, 3) == 3 + 2 + 1 + 3  # the fifth begins the fourth
    assert distinct_tokens(rows, 5) == 6


# Figures


def test_figures_of_a_run() -> None:
    found = run_figures(OUTCOME, Measured(4, 1000, 300, 20), Size(50, 70), peak_flops=1e5)
    assert (found["seconds_a_log"], found["tokens_a_second"], found["distinct_tokens_a_second"]) == (2.5, 100, 30)
    assert found["share_of_peak"] == pytest.approx(6 * (50 * 400 + 70 * 20) / 10 / 1e5)


def test_medians_leave_failed_runs_out() -> None:
    runs = [
        {
            "seconds_a_log": seconds,
            "tokens_a_second": 1,
            "distinct_tokens_a_second": 1,
            "share_of_peak": 0.5,
            "peak_mb": seconds,
        }
        for seconds in (1.0, 3.0, 9.0)
    ]
    found = side_figures([*runs, {"error": "out of memory"}])
    assert (found["seconds_a_log"], found["peak_mb"], len(found["runs"])) == (3.0, 9.0, 4)
    assert "peak_mb" not in side_figures([{"error": "out of memory"}])


@pytest.mark.parametrize(
    ("workload", "speed", "memory", "holds"),
    [
        ("shared", 9.0, 0.5, True),
        ("shared", 8.9, 0.4, False),
        ("shared", 9.1, 0.51, False),
        ("own", 3.0, 0.5, True),
        ("own", 2.9, 0.5, False),
    ],
)
def test_bars(workload: str, speed: float, memory: float, holds: bool) -> None:
    ours, trl = {"seconds_a_log": 1.0, "peak_mb": memory * 100}, {"seconds_a_log": speed, "peak_mb": 100.0}
    found = compare(workload, ours, trl)
    assert found is not None
    assert found["bars_hold"] == holds
    assert compare(workload, ours, {"runs": []}) is None


def test_both_sides_have_to_train_on_the_same() -> None:
    assert check(OUTCOME, replace(OUTCOME, losses=[2.009]))["holds"]
    assert not check(OUTCOME, replace(OUTCOME, losses=[2.02]))["holds"]
    assert not check(OUTCOME, replace(OUTCOME, trained=31))["holds"]


def test_table() -> None:
    good = side_figures([run_figures(OUTCOME, Measured(4, 1000, 300, 20), Size(50, 70), 1e5)])
    both = {"ours": good, "trl": {**good, "seconds_a_log": 23.0}}
    result = {"name": "shared", "sides": both, "check": check(OUTCOME, OUTCOME)}
    result["ratio"] = compare("shared", both["ours"], both["trl"])
    failed = {"name": "own", "sides": {"trl": side_figures([{"error": "out of memory"}])}, "check": {"error": "killed"}}
    lines = table([result, failed]).splitlines()
    assert lines[1].split() == ["shared", "ours", "2.50", "100", "30", "900", "12.8%"]
    assert lines[3].strip() == "the same: 30 and 30 tokens trained on, first loss 2.0000 and 2.0000"
    assert lines[4].strip() == "9.20 times TRL's speed (bar 9.0), 1.00 of its memory (bar 0.5): bars missed"
    assert lines[5].split() == ["own", "trl", "failed:", "out", "of", "memory"]
    assert lines[6].strip() == "not compared: killed"


# Models and processes


def test_size_and_random_weights(tmp_path: Path) -> None:
    folder = str(save_micro(tmp_path))
    model = load_model(folder, models.load_model(folder).dtype, "cpu")
    embedding = model.get_input_embeddings().weight.numel()
    assert model_size(folder) == Size(sum(p.numel() for p in model.parameters()) - embedding, embedding)
    (tmp_path / "model.safetensors").unlink()
    first, second = (load_model(folder, model.dtype, "cpu").state_dict() for _ in range(2))
    assert all(value.equal(second[name]) for name, value in first.items())


def test_our_side_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One workload, ours alone, from the logs to the figures."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder = str(save_micro(tmp_path / "micro"))
    job = Job("", "", 1, 1, folder, "cpu", "", 1e-4, 0, 4096, "float32", {"group_size": 1}, {})
    bench = Bench(job, 1, 1, {"ours": sys.executable}, model_size(folder), 1e9, tmp_path)
    result = bench.workload("own")
    figures = result["sides"]["ours"]
    assert figures["peak_mb"] > 100, figures
    assert result["logs"] == 1 and len(figures["runs"][0]["losses"]) == 1
    assert "ratio" not in result
    assert table([result]).count("\n") == 1


def test_trl_gets_the_fastest_of_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(python: str, module: str, job_file: str, result: str) -> None:
        trl = json.loads(Path(job_file).read_text())["trl"]
        if trl.get("torch_compile"):
            raise RunFailedError("no compiler")
        outcome = replace(OUTCOME, seconds=2.0 if trl.get("attn_implementation") else 8.0)
        Path(result).write_text(json.dumps(asdict(outcome)))

    monkeypatch.setattr("speed.launch.call", call)
    folder = str(save_micro(tmp_path / "micro"))
    job = Job("", "", 8, 8, folder, "cpu", "", 1e-4, 0, 4096, "float32", {}, {"weight_decay": 0.0})
    tuned, trials = Bench(job, 16, 1, {"trl": ""}, Size(1, 1), 1.0, tmp_path).tuned()
    assert tuned.job == replace(
        job, trl={"weight_decay": 0.0, "attn_implementation": "eager", "gradient_checkpointing": True}
    )
    assert len(trials) == len(TRL_CANDIDATES)
    assert trials[0]["seconds_a_log"] == 4.0
    assert [trial["error"] for trial in trials if "error" in trial] == ["no compiler"]


def test_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speed.machine.SIZES", {"cpu": (64,)})
    found = describe("cpu")
    assert found["peak_flops"] > 1e6 and found["threads"] >= 1
    assert peak_memory_mb("cpu") > 50
