"""The built-in data: splits, error rates, labels, and that what stands there is what the tools really said."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tltrain.config import DataConfig
from tltrain.errors import ConfigError
from tltrain.toolworld import ToolWorld, execute, generate, open_world
from tltrain.toolworld.library import FUNCTIONS
from tltrain.toolworld.noise import VISIBLE_SHARE
from tltrain.trajectory import CallSite, Trajectory

SPLITS = ("train", "test_seen", "test_unseen")


@pytest.fixture(scope="module")
def data() -> ToolWorld:
    return generate()


def everything(data: ToolWorld) -> list[Trajectory]:
    return [trajectory for split in SPLITS for trajectory in getattr(data, split)]


def errors(trajectory: Trajectory) -> dict[tuple[int, int], str]:
    sites = trajectory.extra["toolworld"]["sites"]
    return {(site["message"], site["index"]): site["error"] for site in sites}


def golds(trajectory: Trajectory) -> Iterator[CallSite]:
    wrong = errors(trajectory)
    return (site for site in trajectory.call_sites() if (site.message, site.index) not in wrong)


def queries(trajectories: list[Trajectory]) -> list[str]:
    return [trajectory.messages[1].content or "" for trajectory in trajectories]


def test_sizes_and_kinds(data: ToolWorld) -> None:
    assert (len(data.train), len(data.test_seen), len(data.test_unseen)) == (1217, 200, 200)
    assert data.train[0].id == "toolworld-train-0001" and data.test_seen[-1].id == "toolworld-test-seen-0200"
    kinds = Counter(trajectory.extra["toolworld"]["kind"] for trajectory in data.train)
    for kind, share in {"single": 0.64, "chain": 0.12, "parallel": 0.08, "none": 0.09, "refusal": 0.07}.items():
        assert abs(kinds[kind] / 1217 - share) < 0.04, kind


def test_error_rates(data: ToolWorld) -> None:
    for split in SPLITS:
        trajectories = getattr(data, split)
        calls = sum(len(message.calls) for trajectory in trajectories for message in trajectory.messages)
        kinds = Counter(error for trajectory in trajectories for error in errors(trajectory).values())
        silent = kinds["wrong_tool_silent"] + kinds["redundant_argument_silent"]
        assert abs((kinds.total() - silent) / calls - 0.17) < 0.02, split
        if split == "train":
            assert abs(silent / calls - 0.03) < 0.01
            assert len(kinds) == 7 and min(kinds.values()) > 10
        else:
            assert silent == 0


def test_same_seed_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    code = "import sys; from tltrain.toolworld import generate; generate(60, int(sys.argv[2]), 20).write(sys.argv[1])"
    digests = []
    for run, (seed, hash_seed) in enumerate([("3", "1"), ("3", "2"), ("4", "1")]):
        folder = tmp_path / str(run)
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(folder), seed], check=True, env=environment)
        digests.append([hashlib.sha256((folder / f"{split}.jsonl").read_bytes()).hexdigest() for split in SPLITS])
    assert digests[0] == digests[1]
    assert all(one != other for one, other in zip(digests[0], digests[2], strict=True))


def test_no_query_in_two_splits(data: ToolWorld) -> None:
    train, seen, unseen = (set(queries(getattr(data, split))) for split in SPLITS)
    assert not (train & seen or train & unseen or seen & unseen)
    assert len(train) > 1200


def worded_as(query: str, wordings: tuple[str, ...]) -> bool:
    patterns = (re.sub(r"\\\{\w+\\\}", ".+", re.escape(wording)) for wording in wordings)
    return any(re.search(pattern, query) for pattern in patterns)


def test_wordings_held_out_are_not_trained_on(data: ToolWorld) -> None:
    for trajectory in data.train + data.test_seen:
        calls = [site.call.name for site in golds(trajectory)]
        if trajectory.extra["toolworld"]["kind"] == "single" and calls:
            function = FUNCTIONS[calls[0]]
            trained = trajectory.extra["toolworld"]["split"] == "train"
            query = trajectory.messages[1].content or ""
            assert worded_as(query, function.wordings if trained else function.held_out), query


def test_tools_of_the_unseen_split_never_occur_in_training(data: ToolWorld) -> None:
    names = {split: {tool.name for item in getattr(data, split) for tool in item.tools} for split in SPLITS}
    assert names["test_seen"] <= names["train"]
    assert not names["train"] & names["test_unseen"]
    assert len(names["test_unseen"]) >= 24
    assert len(names["train"] | names["test_unseen"]) >= 80


def test_gold_calls_fit_their_schemas(data: ToolWorld) -> None:
    for trajectory in everything(data):
        schemas = {tool.name: tool.parameters for tool in trajectory.tools}
        for site in golds(trajectory):
            Draft202012Validator(schemas[site.call.name]).validate(site.call.arguments)


def test_queries_do_not_name_the_tool(data: ToolWorld) -> None:
    for trajectory in everything(data):
        query = (trajectory.messages[1].content or "").lower()
        for site in golds(trajectory):
            for name in (site.call.name, site.call.name.replace("_", " ")):
                assert not re.search(rf"\b{re.escape(name)}\b", query), query


def test_gold_values_can_be_read_off_the_query(data: ToolWorld) -> None:
    """In single and parallel tasks every value stands in the query, but for enums, lists and flags (in words there)."""
    checked = 0
    for trajectory in everything(data):
        if trajectory.extra["toolworld"]["kind"] not in ("single", "parallel"):
            continue
        query, properties = (
            trajectory.messages[1].content or "",
            {tool.name: tool.properties for tool in trajectory.tools},
        )
        for site in golds(trajectory):
            assert isinstance(site.call.arguments, dict)
            for name, value in site.call.arguments.items():
                if "enum" not in properties[site.call.name][name] and not isinstance(value, list | bool):
                    assert str(value) in query, (query, value)
                    checked += 1
    assert checked > 1000


def test_chains_take_values_from_earlier_feedback(data: ToolWorld) -> None:
    for trajectory in everything(data):
        if trajectory.extra["toolworld"]["kind"] == "chain":
            replies = [message for _, message in trajectory.replies()]
            assert len(replies) >= 3
            texts = [message.content or "" for message in trajectory.messages if message.role in ("user", "tool")]
            last = list(golds(trajectory))[-1].call if list(golds(trajectory)) else None
            for value in last.arguments.values() if last and isinstance(last.arguments, dict) else ():
                if isinstance(value, str) and re.fullmatch(r"[A-Z]+-\d+", value):
                    assert any(value in text for text in texts)


def test_feedback_is_what_the_tools_say_in_a_fresh_world(data: ToolWorld) -> None:
    world = open_world(0)
    for number, trajectory in enumerate(everything(data)):
        world = open_world(0) if number % 300 == 0 else world
        with world.scratch():
            for site in trajectory.call_sites():
                assert site.feedback is not None
                assert execute(trajectory.tools, world, site.call) == site.feedback.content, trajectory.id


def looks_failed(text: str) -> bool:
    """As a person sees it at a glance: an error is named, a refusal is worded, or a bare key is quoted."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return bool(
            re.match(r"\w+Error: |HTTP 4\d\d |'[^']+'$|[a-z_]+\(\) |[a-z_]+: .*\b(No such|option|invalid user)", text)
            or re.match(r"Sorry, |The request |We could not |Your request was refused|bash: ", text)
            or re.match(
                r"could not convert|invalid literal|time data|[a-z_]+ must be |unconverted data|math domain", text
            )
        )
    if not isinstance(value, dict):
        return False
    return "error" in value or value.get("success") is False or value.get("status", 200) in (400, 404, 409, 422)


def test_visible_failures_look_failed_and_nothing_else_does(data: ToolWorld) -> None:
    for trajectory in everything(data):
        wrong = errors(trajectory)
        for site in trajectory.call_sites():
            assert site.feedback is not None and site.feedback.content is not None
            error = wrong.get((site.message, site.index))
            visible = error is not None and not error.endswith("_silent")
            assert looks_failed(site.feedback.content) == visible, (error, site.feedback.content)


def test_every_visible_failure_is_corrected(data: ToolWorld) -> None:
    for trajectory in everything(data):
        wrong = [place for place, error in errors(trajectory).items() if not error.endswith("_silent")]
        right = {site.message for site in trajectory.call_sites() if (site.message, site.index) not in wrong}
        assert all(any(message > place[0] for message in right) for place in wrong)
        assert trajectory.messages[-1].role == "assistant" and trajectory.messages[-1].content


def test_labels_name_the_error(data: ToolWorld) -> None:
    for trajectory in data.train:
        wrong = errors(trajectory)
        tools = {tool.name: tool for tool in trajectory.tools}
        for site in trajectory.call_sites():
            error, call = wrong.get((site.message, site.index)), site.call
            unknown = call.name in tools and set(call.arguments) - set(tools[call.name].properties)
            gap = call.name in tools and set(tools[call.name].required) - set(call.arguments)
            assert (call.name not in tools) == (error == "hallucinated_tool")
            assert bool(unknown) == (error in ("hallucinated_argument", "misspelt_argument"))
            if gap:
                assert error in ("missing_argument", "misspelt_argument")


def test_parallel_calls_stand_in_one_reply_and_repeat_only_what_failed(data: ToolWorld) -> None:
    for trajectory in everything(data):
        if trajectory.extra["toolworld"]["kind"] == "parallel":
            counts = [len(message.calls) for _, message in trajectory.replies()]
            assert counts[0] in (2, 3) and all(count == 1 for count in counts[1:-1]) and counts[-1] == 0
            ids = [site.call.id for site in trajectory.call_sites()]
            assert ids == [f"call_{number}" for number in range(1, len(ids) + 1)]


def test_questions_without_a_call(data: ToolWorld) -> None:
    for trajectory in everything(data):
        if trajectory.extra["toolworld"]["kind"] in ("none", "refusal"):
            assert [message.role for message in trajectory.messages] == ["system", "user", "assistant"]
            assert not trajectory.messages[-1].calls


def test_write_in_openai_form(data: ToolWorld, tmp_path: Path) -> None:
    paths = generate(8, 1, 4).write(tmp_path / "deep" / "folder")
    assert [path.name for path in paths] == [f"{split}.jsonl" for split in SPLITS]
    lines = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 16 and len({line["id"] for line in lines}) == 16
    calls = [call for line in lines for message in line["messages"] for call in message.get("tool_calls", ())]
    assert calls and all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4, 0.6])
def test_noise_sets_the_share_of_failed_training_calls(data: ToolWorld, noise: float) -> None:
    noisy = generate(800, noise=noise)
    calls = sum(len(message.calls) for trajectory in noisy.train for message in trajectory.messages)
    kinds = [error for trajectory in noisy.train for error in errors(trajectory).values()]
    visible = sum(not kind.endswith("_silent") for kind in kinds)
    assert abs(visible / calls - noise) < 0.02
    assert (noisy.test_seen, noisy.test_unseen) == (data.test_seen, data.test_unseen)


def test_the_default_share_of_failed_calls_can_be_named(data: ToolWorld) -> None:
    assert generate(20, noise=0.17).train == generate(20).train != generate(20, noise=0.18).train
    assert DataConfig().noise == VISIBLE_SHARE


def test_noise_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="noise must be between 0 and"):
        generate(1, noise=0.9)


def test_sizes_must_not_be_negative() -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        generate(-1)
