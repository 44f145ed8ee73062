"""Plans within seconds: records that cannot be encoded, parts of the data, and the time left while a run goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.micro import ORDER_TOOLS, micro_tokenizer, micro_trajectories
from support.small_run import call, mistake, write_run

from tltrain import model as models
from tltrain.config import RunConfig
from tltrain.data import Data
from tltrain.engine.tree import TokenSequence
from tltrain.errors import ConfigError
from tltrain.planning.costs import StageCost
from tltrain.planning.forecast import Forecast
from tltrain.planning.measuring import MOST_REPLIES, measured_rates
from tltrain.planning.model_size import model_size
from tltrain.planning.plan import Plan, plan_run, quick_plan
from tltrain.planning.rates import computed_rates
from tltrain.trajectory import Call, Message, Trajectory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/`, `data/` and `small.yaml`."""
    folder = tmp_path_factory.mktemp("quick")
    write_run(folder)
    return folder


def odd_run(place: Path, tmp_path: Path, **data: Any) -> Path:
    """A configuration whose last trajectory has a tool name that the chat template escapes."""
    odd = Trajectory((Message("user", "?"), Message("assistant", None, (Call('a "b" c', {}),))), ORDER_TOOLS, "odd")
    logs = tmp_path / "odd.jsonl"
    logs.write_text((place / "data/train.jsonl").read_text() + json.dumps(odd.to_json()) + "\n")
    values = yaml.safe_load((place / "small.yaml").read_text())
    values["data"] |= {"train": str(logs), **data}
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_record_that_cannot_be_encoded_is_a_problem_of_the_plan(place: Path, tmp_path: Path) -> None:
    for strict, effect in ((True, "so training stops there"), (False, "and are skipped")):
        code, out, err = call("plan", odd_run(place, tmp_path, strict=strict), "--json")
        assert code == 0, err
        said = json.loads(out)["problems"][0]
        assert said.startswith(f"1 trajectory cannot be encoded, {effect}")
        assert said.endswith("odd.jsonl:13, message 1: the chat template does not write the name 'a \"b\" c'")


def test_run_skips_such_a_record(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = odd_run(place, tmp_path, strict=False)
    code, _, err = call("sft", config, "--out", tmp_path / "run", "--set", "sft.arms=[mae+pkt]", "--set", "ppo=null")
    assert code == 0, err
    assert any("skipped: " in line and "does not write the name" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        ("plan", {}, "nothing to learn: of 0 replies 0 failed; 12 trajectories cannot be encoded, so training stops"),
        ("plan", {"sft": None}, "shorter than max_length 8192; 12 trajectories cannot be encoded, so training stops"),
        ("run", {}, "train.jsonl:1: message 1: the chat template fails: ids of 9 characters; `data.strict: false`"),
        ("ppo", {"sft": None}, "train.jsonl:1: message 1: the chat template fails: ids of 9 characters; "),
    ],
)
def test_a_template_that_refuses_all_records_is_named(
    command: str, settings: dict[str, Any], said: str, place: Path, tmp_path: Path
) -> None:
    """Such as one that takes no ids of calls but its own."""
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = (
        "{%- for message in messages if message.tool_calls %}{{- raise_exception('ids of 9 characters') }}{%- endfor %}"
        + str(tokenizer.chat_template)
    )
    shutil.copytree(place / "model", tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    values = yaml.safe_load((place / "small.yaml").read_text()) | {"model": str(tmp_path / "model"), **settings}
    calls = tmp_path / "train.jsonl"
    user, called = Message("user", "?"), Message("assistant", None, (Call("get_order", {"order_id": "A"}),))
    logs = [Trajectory((user, called), ORDER_TOOLS, f"{number}") for number in range(12)]
    calls.write_text("".join(json.dumps(one.to_json()) + "\n" for one in logs))
    values["data"]["train"] = str(calls)
    (tmp_path / "refused.yaml").write_text(yaml.safe_dump(values))
    out = () if command == "plan" else ("--out", tmp_path / "run")
    code, _, err = call(command, tmp_path / "refused.yaml", *out)
    last = err.splitlines()[-1]
    assert (code, said in last, "ids of 9 characters" in last) == (2, True, True), err


@pytest.mark.parametrize(
    "ppo",
    [
        {"validation": {"share": 0.2, "every": 1}},
        {"prompt_epochs": 1, "critic_warmup": 3, "prompts": 2},
    ],
)
def test_settings_that_suit_all_data_need_not_suit_the_part_that_is_encoded(ppo: dict[str, Any], place: Path) -> None:
    config = RunConfig(model=str(place / "model"), sft=None, ppo={"samples": 2, **ppo}, eval=None)
    data = Data("micro", micro_trajectories(), {})
    planned = plan_run(config, data, micro_tokenizer(), gpu="A10G", encode_seconds=0.0)
    assert planned.ppo is not None and planned.ppo.rollouts > 3


def test_settings_that_do_not_suit_all_data_stop_the_run_before_it_begins(place: Path, tmp_path: Path) -> None:
    config = RunConfig(model=str(place / "model"), sft=None, ppo={"validation": {"share": 0.01}}, eval=None)
    data = Data("micro", micro_trajectories(), {})
    with pytest.raises(ConfigError, match=r"^ppo.validation.share 0.01: holds back 0 of 10 prompts$"):
        plan_run(config, data, micro_tokenizer(), gpu="A10G", encode_seconds=0.0)
    small, said = place / "small.yaml", "sft.held_out.share 0.02: holds out 0 of 12 trajectories"
    assert mistake("plan", small, "--set", "sft.held_out={share: 0.02}") == said
    code, _, err = call("run", small, "--out", tmp_path, "--set", "sft.held_out={share: 0.02}")
    assert (code, err.splitlines()[-1]) == (2, f"tltrain: {said}")
    assert not (tmp_path / "predictions").exists()


def test_plan_takes_settings(place: Path) -> None:
    code, out, err = call("plan", place / "small.yaml", "--json", "--set", "ppo=null", "--gpu", "L4 24GB")
    assert code == 0, err
    assert json.loads(out)["ppo"] is None


def test_the_time_left_follows_the_finished_stages(place: Path) -> None:
    rates = computed_rates("L4 24GB", model_size(str(place / "model")), False)
    costs = [StageCost("eval base", 10, 1), StageCost("sft sft", 100, 1), StageCost("eval sft", 20, 1)]
    lines: list[str] = []
    forecast = Forecast(Plan(RunConfig(), {}, None, None, costs, rates), lines.append)
    forecast.finished("audit", 50)  # not estimated
    assert lines == []
    forecast.finished("eval base", 20)  # twice as long
    assert lines.pop() == "eval base took 20 seconds; about 4 minutes left for 2 more stages"
    forecast.finished("sft sft", 35)  # 55 seconds where 110 were estimated
    assert lines.pop() == "sft sft took 35 seconds; about 10 seconds left for 1 more stage"
    forecast.finished("eval sft", 10)
    assert lines == []


def test_a_run_reports_the_time_left(place: Path, tmp_path: Path) -> None:
    code, _, err = call("run", place / "small.yaml", "--out", tmp_path / "run", "--set", "ppo=null")
    assert code == 0, err
    left = [line.split(" took ")[0] for line in err.splitlines() if " left for " in line]
    assert left == ["eval base", "sft sft", "eval sft", "sft mae+pkt"]
    assert sum(line.startswith("problems: ") for line in err.splitlines()) == 1
    assert err.count("standard error") == 1, "one table on the way, as soon as a trained model is scored"
    table = err[err.index("eval sft took") : err.index("standard error")]
    assert "sft mae+pkt took" not in table
    named = [name for line in table.splitlines()[1:] for name in ("base", "sft", "mae+pkt") if name in line.split()]
    assert named[:2] == ["base", "sft"] and "mae+pkt" not in named


def test_measuring_decodes_few_replies(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many the run decodes together: a step of hundreds takes seconds on a CPU."""
    from tltrain.engine.generate import generate

    sizes: list[int] = []

    def counted(model: Any, prompts: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(prompts))
        return generate(model, prompts, *arguments, **options)

    monkeypatch.setattr("tltrain.planning.measuring.generate", counted)
    config = RunConfig(model=str(place / "model"), dtype="float32", device="cpu")
    sample = [TokenSequence(list(range(3, 90)), 40, [1.0] * 47)]
    rates, _ = measured_rates(config, "cpu", sample, 500, 1.0)
    assert max(sizes) == MOST_REPLIES < 500
    assert rates.plain.step_seconds + 500 * rates.plain.reply_seconds > 0


def test_training_is_measured_only_where_it_is_planned(place: Path) -> None:
    data = Data("micro", micro_trajectories(), {"held": micro_trajectories()})
    sections = {"sft": {"arms": ["sft"]}, "ppo": {"arm": "sft", "rollouts": 1}, "eval": {"max_new_tokens": 8}}
    config = RunConfig(model=str(place / "model"), dtype="float32", device="cpu", **sections)
    for stages, full, lora in ((["eval"], False, False), (["ppo"], False, True), (["sft", "eval"], True, False)):
        rates = quick_plan(config, data, micro_tokenizer(), stages).rates
        assert (rates.full is not None, rates.lora is not None) == (full, lora), stages


def test_a_quantised_base_is_measured_quantised(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that SFT does not load may not fit."""
    bases: list[str | None] = []
    load = models.load_model

    def noted(name: str, dtype: Any, device: str, base: str | None = None, allow_code: bool = False) -> Any:
        bases.append(base)
        return load(name, dtype, device, None, allow_code)

    monkeypatch.setattr("tltrain.model.load_model", noted)
    sft = {"arms": ["sft"], "lora": {"base": "4bit"}}
    config = RunConfig(model=str(place / "model"), dtype="float32", device="cpu", sft=sft, ppo=None)
    _, size = measured_rates(config, "cpu", [TokenSequence(list(range(3, 90)), 40, [1.0] * 47)], 1, 0.1)
    assert bases == ["4bit"]
    assert size == model_size(str(place / "model"))
