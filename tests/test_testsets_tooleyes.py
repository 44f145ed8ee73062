"""ToolEyes: episodes of several steps, the simulator, a tool library, and the scores of saved episodes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.scoring import score_episodes, score_file

from tltrain.audit.feedback import feedback_failed
from tltrain.dialects import Parsed, react
from tltrain.errors import ConfigError, DataError
from tltrain.testsets import tooleyes
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.episodes import Episode, Outcome
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.tooleyes import ToolEyes, is_valid
from tltrain.testsets.toollibrary import Library
from tltrain.trajectory import Call, Message, Tool, Trajectory


def tool(name: str, required: list[str], extra: dict[str, Any] | None = None, **described: str) -> Tool:
    properties = {key: {"type": "string", "description": text} for key, text in described.items()}
    return Tool(name, "", {"type": "object", "properties": properties, "required": required}, extra=extra or {})


TIDES = tool(
    "get_tides",
    ["port"],
    port="The port.",
    day="A day, as YYYY-MM-DD.",
    count="The number of tides to return.",
    kind="Enum: 'high', 'low'. The kind of tide.",
    unit="One of the following is allowed: M|FT. Default is CM.",
    api_key="The key.",
)
ASK = tool("ask_to_user", ["question"], question="The question.")
FINISH = tool("finish", ["answer"], answer="The answer.")
TOOLS = (TIDES, ASK, FINISH)


def item(index: int = 0, tools: tuple[Tool, ...] = TOOLS, **extra: Any) -> Item:
    return Item(index, Trajectory((Message("user", "When is high water?"),), tools), (), extra)


def calls(*pairs: tuple[str, dict[str, Any]]) -> Parsed:
    return Parsed(tuple(Call(name, arguments) for name, arguments in pairs), "")


def played(*replies: Parsed, executor: Any = None, number: int = 0) -> Episode:
    episode = Episode(item(number), executor or Simulator())
    for reply in replies:
        episode.reply(reply)
    return episode


def texts(episode: Episode) -> list[str]:
    return [outcome.feedback for outcome in episode.outcomes]


GOOD = ("get_tides", {"port": "Ude"})
MISREAD = ("get_tides", {"harbour": "Ude"})
FAILING = ("get_tides", {"port": "Ude", "day": "tomorrow"})
DONE = ("finish", {"answer": "At noon."})
REFUSED = ("finish", {"answer": "I cannot handle the task"})


def test_feedback_follows_each_call_until_the_answer() -> None:
    episode = played(calls(GOOD, MISREAD), calls(FAILING))
    prompt = episode.prompt
    assert prompt is not None
    assert [message.role for message in prompt.messages] == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    sites = list(prompt.call_sites())
    assert [site.feedback and site.feedback.content for site in sites] == texts(episode)
    assert len({site.call.id for site in sites}) == 3
    assert [(made.misread is None, made.failed is None) for made in episode.calls] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert "harbour" in texts(episode)[1]
    episode.reply(calls(DONE, GOOD))
    assert episode.prompt is None
    assert episode.answer == "At noon."
    assert len(episode.calls) == 4  # what follows `finish` in its reply is not made


def test_episodes_end_without_an_answer_too() -> None:
    assert played(Parsed((), "At noon.")).prompt is None
    assert played(Parsed((), "At noon.")).answer is None
    broken = played(Parsed((), "Action:", "no input"))
    assert broken.unreadable == 1
    assert broken.prompt is not None
    assert broken.prompt.messages[-1].role == "user"
    asked: list[Trajectory] = []

    def ask(prompt: Trajectory) -> Parsed:
        asked.append(prompt)
        return calls(GOOD)

    episode = Episode(item(), Simulator(), max_steps=3)
    while (prompt := episode.prompt) is not None:
        episode.reply(ask(prompt))
    assert episode.answer is None
    assert [len(prompt.messages) for prompt in asked] == [1, 3, 5]
    wrong = played(calls(("finish", {"result": "At noon."})))
    assert (wrong.answer, wrong.prompt is None, wrong.calls[0].misread is None) == (None, False, False)


def test_nobody_answers_questions_and_nothing_is_executed_for_them() -> None:
    class Untouched:
        name = "untouched"

        def execute(self, call: Call, item: Item) -> Outcome:
            raise AssertionError("not to be executed")

    episode = played(calls(("ask_to_user", {"question": "Where?"}), MISREAD), executor=Untouched())
    assert feedback_failed(texts(episode)[0]) is None
    assert [made.failed for made in episode.calls] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"port": "Ude"}, None),
        ({"port": "Ude", "day": "2024-03-01", "count": "2", "kind": "High,low", "unit": "ft"}, None),
        ({"port": "Ude", "day": "from 2024-03-01", "count": "10 to 20", "unit": ""}, None),
        ({"port": " "}, "port: it must not be empty"),
        ({"port": {"name": "Ude"}}, "cannot be read as a string"),
        ({"port": "Ude", "day": "2024-13-01"}, "not a date of the form YYYY-MM-DD"),
        ({"port": "Ude", "day": "tomorrow"}, "not a date of the form YYYY-MM-DD"),
        ({"port": "Ude", "count": "all"}, "not a number"),
        ({"port": "Ude", "kind": "middle"}, "not one of high, low"),
        ({"port": "Ude", "unit": "yard"}, "not one of cm, ft, m"),
    ],
)
def test_calls_fail_only_for_what_the_documentation_says(arguments: dict[str, Any], reason: str | None) -> None:
    outcome = Simulator().execute(Call("get_tides", arguments), item())
    if reason is None:
        assert outcome.failed is None
        assert feedback_failed(outcome.feedback) is None
    else:
        assert outcome.failed is not None
        assert reason in outcome.failed
        assert feedback_failed(outcome.feedback) is not None


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "format": "date"}, "2024-02-29", "2023-02-29"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "UDE", "ude"),
        ({"type": "integer", "maximum": 5}, 5, 6),
        ({"enum": ["a", "b"]}, "a", "c"),
        ({"pattern": "("}, "x", None),
    ],
)
def test_what_the_schema_says_of_values_counts(schema: dict[str, Any], good: Any, bad: Any) -> None:
    one = Tool("note", "", {"type": "object", "properties": {"x": schema}})
    run = Simulator().execute
    assert run(Call("note", {"x": good}), item(tools=(one,))).failed is None
    if bad is not None:
        assert run(Call("note", {"x": bad}), item(tools=(one,))).failed is not None


def test_the_same_call_has_the_same_answer_and_another_one_another() -> None:
    run = Simulator().execute
    first = run(Call("get_tides", {"port": "Ude", "count": "2", "api_key": "s3cret"}, id="a"), item())
    random.seed(1)
    again = run(Call("get_tides", {"count": "2", "api_key": "s3cret", "port": "Ude"}, id="b"), item())
    assert first == again
    assert first.feedback != run(Call("get_tides", {"port": "Ems", "count": "2"}), item()).feedback
    answer = json.loads(first.feedback)
    assert len(answer["tides"]) == 2
    assert answer["request"] == {"port": "Ude", "count": "2"}


@pytest.mark.parametrize(
    ("description", "choices"),
    [
        ("Each is one of the following: 0 (None) | 1 | 2.", {"0", "1", "2"}),
        ("Allowed values are (5m | 15m). Default is 1m.", {"5m", "15m", "1m"}),
        ("Default: 'all' Valid values: 'all''new'", {"all", "new"}),
        ("Enum: 'high'. The kind.", set()),
        ("One of the following: past hour | past day", set()),
        ("One or more of some ids, enum: 'all', 'id-id'", set()),
        ("Valid values: 'a', 'b' etc", set()),
        ("The kind | form.", set()),
    ],
)
def test_only_clear_lists_of_values_are_taken_for_complete(description: str, choices: set[str]) -> None:
    one = tool("note", [], x=description)
    failed = {
        word: Simulator().execute(Call("note", {"x": word}), item(tools=(one,))).failed is not None
        for word in ("none of them", *choices)
    }
    assert failed == {"none of them": bool(choices), **dict.fromkeys(choices, False)}


def test_documented_results_are_what_comes_back_and_a_value_never_makes_a_failure() -> None:
    returns = {"properties": {"height": {"type": "number"}, "state": {"enum": ["ebb", "flood"]}}}
    one = tool("tide_now", [], {"returns": returns}, error="What was reported.")
    outcome = Simulator().execute(Call("tide_now", {"error": "Error: no such port"}), item(tools=(one,)))
    assert outcome.failed is None
    assert feedback_failed(outcome.feedback) is None
    answer = json.loads(outcome.feedback)
    assert isinstance(answer["height"], float)
    assert answer["state"] in ("ebb", "flood")


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ("At noon.", True),
        ("Sorry for the wait: it is at noon.", True),
        ("It is at noon. I could not find the wind.", True),
        ("The boat cannot pass at low water.", True),
        ("I cannot handle the task", False),
        ("i cannot handle the task.", False),
        ("I'm sorry, but I am unable to find tides.", False),
        ("Unfortunately, I can't currently access the service.", False),
        ("  ", False),
        (None, False),
    ],
)
def test_a_valid_answer_is_no_refusal(answer: str | None, valid: bool) -> None:
    assert is_valid(answer) is valid


def test_shares_are_of_all_calls_and_of_all_queries() -> None:
    episodes = [
        played(calls(GOOD), calls(MISREAD), calls(FAILING), calls(DONE)),
        played(calls(("get_tides", {"port": ["Ude"]})), calls(REFUSED)),  # a bad value is the executor's to find
        played(Parsed((), "At noon.")),
        played(calls(GOOD, ("fly", {})), calls(("finish", {"answer": ""}))),
    ]
    row = score_episodes(episodes)
    assert (row["n"], row["queries"], row["calls"], row["executor"]) == (4, 4, 9, "simulator")
    assert (row["DE"], row["CE"], row["VA"]) == pytest.approx((100 * 2 / 9, 100 * 2 / 9, 25))
    assert row["se"]["VA"] == pytest.approx(100 * (0.25 * 0.75 / 4) ** 0.5)
    assert row["ends"] == {"answer": 1, "empty_answer": 1, "no_answer": 1, "refusal": 1}


SYSTEM = """You help with ships.

Desired format:
Thought: <the thought>
Action: <the tool>
Action Input: <its arguments>

Remember:
1. Think.
2. Write "Action Input" as an object.
3. Use "finish" at the end.

Task description: Help the user. Specifically, you have access of the following tools:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    listed = json.dumps([one.to_json()["function"] for one in TOOLS])
    turns = [{"from": "system", "value": f"{SYSTEM}{listed}\n\nBegin!"}, {"from": "user", "value": "High water?"}]
    record = {"id": "Turn 1", "conversations": turns, "path": "Eyes/Tool_Library/Sea/Tides", "scenario": "IR"}
    (tmp_path / tooleyes.FILE).parent.mkdir()
    (tmp_path / tooleyes.FILE).write_text(json.dumps([record, record | {"id": "Turn 2"}]))
    return tmp_path


def test_the_prompt_has_the_task_without_tool_list_and_form(folder: Path) -> None:
    test = ToolEyes.load(folder, "all")
    assert (test.total, [one.index for one in test.items], test.items[0].golds) == (2, [0, 1], ())
    first = test.items[0]
    assert [tool.name for tool in first.prompt.tools] == ["get_tides", "ask_to_user", "finish"]
    assert first.extra == {"path": "Eyes/Tool_Library/Sea/Tides", "scenario": "IR"}
    system = first.prompt.messages[0].content
    assert system == (
        'You help with ships.\n\nRemember:\n1. Think.\n3. Use "finish" at the end.\n\n'
        "Task description: Help the user.\n\nBegin!"
    )
    with pytest.raises(ConfigError, match="tooleyes has no split 'test': expected all"):
        ToolEyes.load(folder, "test")
    with pytest.raises(DataError, match="no such file"):
        ToolEyes.load(folder / "elsewhere", "all")


def line(index: int, *replies: Parsed, **more: Any) -> str:
    return json.dumps({"index": index, "replies": [react.format(reply.calls) for reply in replies], **more})


@pytest.fixture
def loaded(folder: Path) -> TestSet:
    return ToolEyes.load(folder, "all")


def test_shares_of_no_calls_are_none(loaded: TestSet) -> None:
    row = score_file(loaded, [json.dumps({"index": 0, "replies": ["I can not."]})])
    assert (row["DE"], row["CE"], row["VA"], row["calls"]) == (None, None, 0, 0)
    assert (row["se"]["DE"], row["se"]["CE"]) == (None, None)


def test_saved_episodes_are_played_through_the_simulator(loaded: TestSet) -> None:
    row = score_file(loaded, [line(0, calls(GOOD), calls(FAILING), calls(DONE)), "\n"])
    assert (row["DE"], row["VA"], row["executor"]) == (0, 50, "simulator")
    assert row["CE"] == pytest.approx(100 / 3)
    assert (row["missing"], row["items"], row["n"]) == (1, 2, 2)
    assert "not the pinned data" in row["warnings"][0]
    structured = {"index": 1, "replies": [{"calls": [{"name": "finish", "arguments": {"answer": "At noon."}}]}]}
    hermes = {"index": 0, "replies": [{"text": "At noon."}], "dialect": "hermes"}
    assert score_file(loaded, [json.dumps(structured), json.dumps(hermes)])["VA"] == 50
    single = [{"index": 0, "text": react.format(calls(DONE).calls)}, {"index": 1, "calls": []}]
    assert score_file(loaded, map(json.dumps, single))["ends"] == {"answer": 1, "no_answer": 1}


def test_recorded_feedback_is_taken_as_it_was(loaded: TestSet) -> None:
    recorded = line(0, calls(GOOD, GOOD), calls(DONE), feedback=['{"error": "down"}', "[]"], executor="library")
    row = score_file(loaded, [recorded])
    misread = line(0, calls(MISREAD), feedback=['{"error": "no such argument"}'])
    both = score_file(loaded, [misread])
    assert (both["DE"], both["CE"], both["executor"]) == (100, 0, "recorded")
    assert (row["CE"], row["executor"]) == (pytest.approx(100 / 3), "library")
    said = json.loads(recorded) | {"failed": ["the process ended with 1", None]}
    quiet = said | {"feedback": ["googleapiclient.errors.NotFound: 404", "[]"]}
    for one, failures in ((said, 1), (quiet, 1), (quiet | {"failed": None}, 0)):
        assert score_file(loaded, [json.dumps(one)])["CE"] == pytest.approx(100 * failures / 3)
    with pytest.raises(ConfigError, match="several executors cannot be scored together: library, simulator"):
        score_file(loaded, [recorded, line(1, calls(DONE))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line(7), "p.jsonl:2: index: there is no item 7: the split has 2, from 0"),
        (line(0), "p.jsonl:2: index: 0 already has an earlier line"),
        ('{"index": "1", "replies": []}', "p.jsonl:2: index: expected a whole number"),
        ('{"index": 1}', "p.jsonl:2: replies: expected list, but it is missing"),
        ('{"index": 1, "text": 3}', r"p.jsonl:2: replies\[0\]\.text: expected text, got number"),
        ('{"index": 1, "replies": [3]}', r"p.jsonl:2: replies\[0\]: expected object, got number"),
        (line(1, calls(GOOD), feedback=[]), "p.jsonl:2: feedback: get_tides is call 1, and has none"),
        (line(1, calls(GOOD), feedback=["[]"], failed=[]), "failed: expected an element for each of 1 in feedback"),
    ],
)
def test_lines_that_cannot_be_read_are_said(loaded: TestSet, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        score_file(loaded, [line(0, calls(DONE)), text], path="p.jsonl")


def test_a_tool_library_is_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / "Tool_Library" / "Sea" / "Tides"
    place.mkdir(parents=True)
    (place / "api.py").write_text(
        "from beside import HEIGHT\n\nprint('loaded')\n\n"
        "def get_tides(port):\n    if port == 'x':\n        raise KeyError(port)\n"
        "    if port == 'y':\n        return {'error': 'unknown port'}\n    return {port: HEIGHT}\n"
    )
    (place / "beside.py").write_text("HEIGHT = 3\n")
    library = Library(tmp_path)
    query = item(path="Eyes/Tool_Library/Sea/Tides")
    outcomes = [library.execute(Call("get_tides", {"port": port}), query) for port in ("Ude", "x", "y")]
    assert [outcome.feedback for outcome in outcomes] == ['{"Ude": 3}', "KeyError: 'x'", '{"error": "unknown port"}']
    assert [outcome.failed is None for outcome in outcomes] == [True, False, False]
    with pytest.raises(DataError, match="no function other here"):
        library.execute(Call("other"), query)
    with pytest.raises(ConfigError, match="no tool library"):
        Library(tmp_path / "nowhere")


def test_a_library_call_without_an_answer_is_ended(tmp_path: Path) -> None:
    (tmp_path / "api.py").write_text("import time\n\ndef get_tides(port):\n    time.sleep(60)\n")
    outcome = Library(tmp_path, timeout=0.1).execute(Call("get_tides", {"port": "Ude"}), item())
    assert outcome.failed == "timeout: no answer within 0.1 seconds"


def test_the_public_queries_are_read(shared_data: Path) -> None:
    if not (shared_data / tooleyes.FILE).is_file():
        pytest.skip("needs ToolEyes (`tltrain fetch tooleyes`)")
    test = ToolEyes.load(shared_data, "all")
    assert test.total == len(test.items) >= 120
    for one in test.items:
        assert [tool.name for tool in one.prompt.tools[-2:]] == ["ask_to_user", "finish"]
        system = one.prompt.messages[0].content or ""
        assert "Action" not in system
        assert "finish" in system
        for each in one.prompt.tools[:-2]:
            values = dict.fromkeys(each.required, "Paris")
            Simulator().execute(Call(each.name, values), one)
