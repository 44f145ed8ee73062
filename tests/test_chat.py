"""`tltrain try`: conversations with a scripted model, what is shown of them, and what is saved."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.commands import call
from support.micro import micro_tokenizer
from support.scripted import Scripted, calling, scripted
from support.small_run import write_run

from tltrain import formats
from tltrain.chat.conversation import CallEvent, Conversation, EndEvent, Event, TextEvent
from tltrain.chat.display import Display
from tltrain.chat.loading import trained_model
from tltrain.chat.session import Session
from tltrain.chat.text import excerpt, one_line, visible, without_surrogates
from tltrain.chat.toolbox import MAX_RESULT, limited, toolworld_tools
from tltrain.dialects import hermes
from tltrain.encode import Encoder
from tltrain.errors import ConfigError
from tltrain.evaluation.predictions import Prediction, no_reply
from tltrain.trajectory import Call, Message, Tool

WEATHER = {"city": "Oslo", "day": "2025-03-14"}
CALL = calling("get_weather", **WEATHER)


class Echo:
    """Tools that answer with a fixed text."""

    name, system, examples = "echo", "Be brief.", ("Say it.",)

    def __init__(self, result: str = "done") -> None:
        self.result, self.called = result, list[Call]()
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        self.tools = (Tool("say", "Says it.", schema),)

    def execute(self, call: Call) -> str:
        self.called.append(call)
        return self.result


def conversation(*script: Any, toolbox: Any = None, **options: Any) -> Conversation:
    return Conversation(scripted(*script), toolbox or toolworld_tools(["weather"]), **options)


def backend(one: Conversation) -> Scripted:
    assert isinstance(one.speaker.backend, Scripted)
    return one.speaker.backend


# Turns


def test_a_call_is_executed_and_its_result_goes_back_to_the_model() -> None:
    one = conversation(calling("get_weather", "Let me see.", **WEATHER), "It was grey.")
    text, made, end = one.ask("How was the weather in Oslo on 2025-03-14?")
    assert text == TextEvent("Let me see.")
    assert isinstance(made, CallEvent) and made.faults == () and made.failed is None
    assert set(json.loads(made.result)) == {"sky", "low", "high"}
    assert end == EndEvent("answer", "It was grey.")
    asked = backend(one).prompts[1]
    assert [message.role for message in asked.messages] == ["system", "user", "assistant", "tool"]
    assert asked.messages[-1].content == made.result
    assert [site.feedback for site in asked.call_sites()] == [asked.messages[-1]]
    assert asked.tools == one.toolbox.tools


def test_later_turns_see_earlier_ones_until_the_conversation_is_cleared() -> None:
    one = conversation("First.", "Second.", "Third.")
    for query in ("a", "b"):
        list(one.ask(query))
    assert [message.content for message in backend(one).prompts[1].messages[1:]] == ["a", "First.", "b"]
    one.clear()
    list(one.ask("c"))
    assert [message.content for message in backend(one).prompts[2].messages[1:]] == ["c"]


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        (calling("get_whether", **WEATHER), "unknown_tool"),
        (calling("get_weather", town="Oslo", day="2025-03-14"), "unknown_argument"),
        (calling("get_weather", city="Oslo"), "missing_argument"),
        (calling("get_weather", city=["Oslo"], day="2025-03-14"), "bad_value"),
        ([{"name": "get_weather", "arguments": "Oslo"}], "not_an_object"),
    ],
)
def test_a_malformed_call_has_its_fault_and_fails(reply: Any, category: str) -> None:
    made, end = conversation(reply, "Sorry.").ask("How was the weather?")
    assert isinstance(made, CallEvent) and made.faults[0].category == category
    assert made.failed is not None
    assert end == EndEvent("answer", "Sorry.")


def test_a_well_formed_call_may_fail() -> None:
    made, _ = conversation(calling("get_weather", city="Atlantis", day="2025-03-14"), "No.").ask("?")
    assert isinstance(made, CallEvent) and not made.faults and made.failed is not None


def test_a_reply_that_cannot_be_parsed_ends_the_turn_and_is_not_learnt() -> None:
    one = conversation('<tool_call>\n{"name": "get_weather"', "Again?")
    (end,) = one.ask("How was the weather?")
    assert isinstance(end, EndEvent) and end.end == "unparseable" and end.reason
    (answer,) = one.ask("Try again.")
    assert answer == EndEvent("answer", "Again?")
    trajectory = one.trajectory()
    assert trajectory is not None
    assert [message.weight for _, message in trajectory.replies()] == [0, None]


def test_a_truncated_reply_says_so() -> None:
    (end,) = conversation(Prediction(0, CALL, finished=False)).ask("?")
    assert end == EndEvent("truncated", CALL, "truncated at the length limit")


def test_a_turn_that_the_model_cannot_answer_leaves_no_trace() -> None:
    one = conversation("Hi.", CALL, no_reply(0, "hermes", "the prompt has 9 tokens, and the limit is 8", True))
    list(one.ask("Hello"))
    before = list(one.messages)
    *_, end = one.ask("How was the weather?")
    assert end == EndEvent("refused", "", "the prompt has 9 tokens, and the limit is 8")
    assert one.messages == before


def test_calls_beyond_the_limit_are_not_executed() -> None:
    both = hermes.format([Call("say", {"x": 1}), Call("say", {"x": 2})])
    toolbox = Echo()
    one = conversation(both, both, "Never said.", toolbox=toolbox, max_calls=3)
    *calls, end = one.ask("Say it.")
    assert len(calls) == 4 and len(toolbox.called) == 3
    assert isinstance(calls[-1], CallEvent) and "limit is 3" in calls[-1].result
    assert isinstance(end, EndEvent) and end.end == "call limit"
    assert len(backend(one).prompts) == 2
    trajectory = one.trajectory()
    assert trajectory is not None and all(site.feedback for site in trajectory.call_sites())


def test_exactly_as_many_calls_as_the_limit_are_answered() -> None:
    *_, end = conversation(calling("say", x=1), calling("say", x=2), "Said.", toolbox=Echo(), max_calls=2).ask("?")
    assert end == EndEvent("answer", "Said.")


def test_ids_of_calls_are_unique_across_turns() -> None:
    one = conversation(calling("say", x=1), "a", calling("say", x=2), "b", toolbox=Echo())
    for query in ("1", "2"):
        list(one.ask(query))
    ids = [made.id for message in one.messages for made in message.calls]
    assert len(set(ids)) == 2 and all(re.fullmatch(r"\w{9}", str(one)) for one in ids)


def test_the_system_prompt_can_be_replaced_or_left_out() -> None:
    assert [message.content for message in conversation(toolbox=Echo()).messages] == ["Be brief."]
    assert [message.content for message in conversation(toolbox=Echo(), system="Rhyme.").messages] == ["Rhyme."]
    assert conversation(toolbox=Echo(), system="").messages == []


# Tools of toolworld


def test_toolworlds_tools_are_those_of_an_agent_by_seed() -> None:
    first, second = toolworld_tools(), toolworld_tools()
    assert first.tools == second.tools and first.examples == second.examples and first.system
    assert len({toolworld_tools(seed=seed).name for seed in range(4)}) > 1


@pytest.mark.parametrize(("names", "expected"), [(["weather_desk_1"], 5), (["get_weather", "get_stock"], 2)])
def test_toolworlds_tools_by_name(names: list[str], expected: int) -> None:
    assert len(toolworld_tools(names).tools) == expected


def test_each_toolworld_has_its_own_state() -> None:
    one, other = toolworld_tools(["files"]), toolworld_tools(["files"])
    path = one.world.all("SELECT path FROM files")[0]["path"]
    before = other.execute(Call("read_file_info", {"path": path}))
    assert one.execute(Call("delete_file", {"path": path}))
    assert one.execute(Call("read_file_info", {"path": path})) != before
    assert other.execute(Call("read_file_info", {"path": path})) == before


def test_examples_are_requests_of_the_tools() -> None:
    examples = toolworld_tools(["weather"]).examples
    assert len(examples) == 3 and all(example and "{" not in example for example in examples)


def test_an_unknown_service_has_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean weather"):
        toolworld_tools(["wether"])
    with pytest.raises(ConfigError, match="services are calendar"):
        toolworld_tools(["zzzzzz"])


# Untrusted text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("Grüße 👩\u200d🚀 [bold]x[/bold] :smile:", "Grüße 👩\u200d🚀 [bold]x[/bold] :smile:"),
        ("\x1b[2J\x07\x00\x9b31m", "\\x1b[2J\\x07\\x00\\x9b31m"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("hidden\U000e0041", "hidden\\U000e0041"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_texts_are_shortened() -> None:
    assert excerpt("abc", 3) == "abc"
    assert excerpt("abcd", 3) == "abc … (1 more characters)"
    assert excerpt("a\nb\nc", 99, 2) == "a\nb … (2 more characters)"
    assert one_line("a\n b\x1b", 20) == "a b\\x1b" and len(one_line("x" * 50, 20)) == 20
    assert without_surrogates("a\ud800") == "a?"


def test_surrogates_of_a_call_reach_neither_tools_nor_files() -> None:
    toolbox = Echo("a\ud800")
    one = conversation([{"name": "say", "arguments": {"x": "\ud800"}}], "\ud800", toolbox=toolbox)
    assert list(one.ask("\ud800"))[-1] == EndEvent("answer", "?")
    assert toolbox.called[0].arguments == {"x": "?"}
    json.dumps([message.to_json() for message in one.messages[:3]], ensure_ascii=False).encode()


def test_a_long_result_is_truncated_for_the_model() -> None:
    assert limited("x" * MAX_RESULT) == "x" * MAX_RESULT
    assert limited("x" * (MAX_RESULT + 1)).endswith("[truncated: the result has 100,001 characters]")


# Display


HOSTILE = "\x1b[2J[red]owned[/red] {{ 7*7 }} \u202e"


def shown(width: int, terminal: bool, *turns: list[Event], names: tuple[str, ...] = ()) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="auto" if not terminal else "truecolor"
    )
    display = Display(console)
    if names:
        display.pair(list(zip(names, turns, strict=True)))
    for event in [] if names else turns[0]:
        display.event(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def hostile_turn() -> list[Event]:
    script = (calling("say", HOSTILE, x=HOSTILE), HOSTILE)
    return list(conversation(*script, toolbox=Echo(HOSTILE)).ask("?"))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_is_shown_as_text(width: int, terminal: bool) -> None:
    out = shown(width, terminal, hostile_turn())
    plain = re.sub(r"\x1b\[[\d;]*m", "", out)  # our own colours
    assert terminal == ("\x1b[" in out)
    assert "\x1b" not in plain and "\u202e" not in plain
    assert plain.count("[red]owned[/red]") == 5 and "\\x1b[2J" in plain and "\\u202e" in plain
    assert "not well-formed" in plain


@pytest.mark.parametrize("width", [60, 80])
def test_lines_fit_the_terminal(width: int) -> None:
    turn = list(conversation(CALL, "It was grey. " * 30).ask("?"))
    for out in (shown(width, True, turn), shown(width, True, turn, turn, names=("one", "other"))):
        assert max(len(line) for line in re.sub(r"\x1b\[[\d;]*m", "", out).splitlines()) <= width


def test_two_models_are_side_by_side_where_there_is_room() -> None:
    turn = list(conversation("Grey.").ask("?"))
    wide, narrow, piped = (shown(*size, turn, turn, names=("one", "other")) for size in
                           ((80, True), (60, True), (80, False)))  # fmt: skip
    assert wide.count("\n") == 2 and narrow.count("\n") == piped.count("\n") == 4


def test_piped_lines_are_not_wrapped() -> None:
    turn = list(conversation("It was grey. " * 30).ask("?"))
    assert shown(60, False, turn) == f"answer  {'It was grey. ' * 30}\n"


# Sessions, and what they save


def test_a_saved_session_is_training_data(tmp_path: Path) -> None:
    wrong = calling("get_weather", city="Oslo")
    one = conversation(wrong, CALL, "It was \ud800grey.", "Bye.", '<tool_call>{"name"')
    session = Session([one], save=tmp_path / "new" / "mine.jsonl")
    for query in ("How was the weather?", "Thanks.", "And now?"):
        session.ask(query)
    session.finish()
    session.finish()  # nothing new to save
    again = Session([conversation("Hi.")], save=tmp_path / "new" / "mine.jsonl")
    again.ask("Hello")
    again.finish()
    first, second = formats.read(tmp_path / "new" / "mine.jsonl")
    assert [message.role for message in first.messages] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "assistant"),
        *("user", "assistant", "user", "assistant"),
    ]
    assert [made.call.arguments for made in first.call_sites()] == [{"city": "Oslo"}, WEATHER]
    assert first.tools == one.toolbox.tools and first.extra == {"model": "scripted"}
    assert first.id != second.id and second.messages[-1] == Message("assistant", "Hi.")
    code, out, err = call("audit", tmp_path / "new" / "mine.jsonl", "--out", tmp_path / "audit", "--json")
    result = json.loads(out)
    assert code == 0 and result["calls"]["total"] == 2 and result["calls"]["failed"] == 1, err


def test_a_saved_session_is_encoded_for_training(tmp_path: Path) -> None:
    one = conversation(calling("get_weather", city="Oslo"), CALL, "It was grey.", '<tool_call>{"name"')
    session = Session([one], save=tmp_path / "mine.jsonl")
    for query in ("How was the weather?", "And now?"):
        session.ask(query)
    session.finish()
    (trajectory,) = formats.read(tmp_path / "mine.jsonl")
    steps = Encoder(micro_tokenizer()).steps(trajectory)
    assert [step.masked for step in steps] == [True, False, False, True]


@pytest.mark.slow
def test_a_run_trains_on_saved_sessions(tmp_path: Path) -> None:
    write_run(tmp_path)
    save = tmp_path / "mine.jsonl"
    for _ in range(2):
        session = Session([conversation(CALL, "It was grey.", toolbox=Echo())], save=save)
        session.ask("How was the weather?")
        session.finish()
    config = write_run(tmp_path, data={"train": str(save)}, ppo=None, eval=None)
    code, _, err = call("sft", config, "--out", tmp_path / "run")
    assert code == 0, err
    assert trained_model(str(tmp_path / "run")).endswith("/model")


def test_nothing_is_saved_without_a_finished_turn(tmp_path: Path) -> None:
    session = Session([conversation()], save=tmp_path / "mine.jsonl")
    session.ask("Hello")
    session.finish()
    assert session.saved == 0 and not (tmp_path / "mine.jsonl").exists()


def test_an_interrupted_turn_is_not_saved(tmp_path: Path) -> None:
    class Interrupting(Echo):
        def execute(self, call: Call) -> str:
            raise KeyboardInterrupt

    one = conversation("Hi.", calling("say", x=1), toolbox=Interrupting())
    session = Session([one], save=tmp_path / "mine.jsonl")
    session.ask("Hello")
    with pytest.raises(KeyboardInterrupt):
        session.ask("Say it.")
    session.finish()
    (saved,) = formats.read(tmp_path / "mine.jsonl")
    assert [message.content for message in saved.messages[1:]] == ["Hello", "Hi."]


def test_commands_of_a_session() -> None:
    console = Console(file=io.StringIO(), width=80)
    session = Session([conversation("Hi.", "Hi.", toolbox=Echo())], Display(console))
    session.greet()
    session.ask("Hello")
    assert session.command("/tools") and session.command("/clear") and session.command("/what")
    assert not session.command("/exit")
    assert isinstance(console.file, io.StringIO)
    out = console.file.getvalue()
    assert "say(x)" in out and "new conversation" in out and out.count("/clear starts") == 2 and "Say it." in out
    session.ask("Again")
    assert len(backend(session.conversations[0]).prompts[1].messages) == 2
