"""Dialects: what is written is read back, foreign forms with one reading are read, hostile text is refused in time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tltrain import dialects
from tltrain.dialects import Parsed, hermes, python, react
from tltrain.errors import ConfigError
from tltrain.trajectory import Call, Tool

TEXTS = st.text() | st.sampled_from(
    [
        "</tool_call>",
        "<tool_call>\n",
        "\nAction: x",
        "Action Input: {}",
        "f(x=1)\n",
        "'\"\\",
        "'''",
        "\\u0041",
        "Thought: ",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = TEXTS | st.sampled_from(
    ["get-x", "a.b", '"a"', " a", "a\r", "math/factorial", "for", "None", "ﬁ", "360_search", "x Action Input: y"]
)
CALLS = st.lists(st.builds(Call, NAMES, st.dictionaries(NAMES, VALUES, max_size=4)), min_size=1, max_size=3)
BESIDE = st.sampled_from(["", "Let me look.", "two\nlines\n", "\n\n", " (not a call) ", "Größe: 1 < 2", "Thought: hm"])

TOOL = Tool("move", parameters={"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}})


def exactly(value: Any) -> str:
    """Tells 1 from 1.0, True from 1, and 0.0 from -0.0, as == does not."""
    if isinstance(value, dict):
        return repr(sorted((key, exactly(item)) for key, item in value.items()))
    return repr([exactly(item) for item in value]) if isinstance(value, list) else repr(value)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@settings(deadline=None)
@given(calls=CALLS, text=BESIDE)
@example(calls=[Call("f", {"n": 10**40, "m": -(10**25), "z": -0.0, "e": 1e16, "t": True})], text="")
@example(calls=[Call("f", {"x": {"y": [[], {}, [None]]}, "": "", "self": 1, "*": 2})], text="a\n")
@example(calls=[Call("", {})], text="")
def test_written_calls_are_read_back(name: str, calls: list[Call], text: str) -> None:
    dialect = dialects.get(name)
    parsed = dialect.parse(dialect.format(calls, text), ())
    # Nothing stands beside the paper's calls.
    assert (parsed.text, parsed.broken) == ("" if name == "python" else text, None)
    assert [(call.name, exactly(call.arguments)) for call in parsed.calls] == [
        (call.name, exactly(call.arguments)) for call in calls
    ]


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@pytest.mark.parametrize(
    "text", ["", "Hello.", 'It is {"a": 1}.', "a (b) c\n[1, 2]\n\n", "Action", "\ud800", "[" * 100_000]
)
def test_text_without_markup_is_no_call(name: str, text: str) -> None:
    assert dialects.get(name).parse(text, ()) == Parsed((), text, None)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@settings(deadline=None)
@given(text=st.text() | st.text(alphabet="f([{'\"\\)}],:;=\n <>/1aActionInput"))
def test_no_text_raises(name: str, text: str) -> None:
    parsed = dialects.get(name).parse(text, [TOOL])
    assert parsed.broken is None or (parsed.calls, parsed.text) == ((), text)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_a_hundred_levels_are_read(name: str) -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    call = Call("f", {"a": value})
    assert dialects.get(name).parse(dialects.get(name).format([call], ""), ()).calls == (call,)


def block(inside: str) -> str:
    return f"<tool_call>\n{inside}\n</tool_call>"


HOSTILE = {
    "hermes": [
        block('{"name": "f", "arguments": {"a": ' + "[" * 100_000),
        block('{"name": "f", "arguments": {"a": ' + "[" * 300 + "]" * 300 + "}}"),
        block('{"name": "f", "arguments": {"a": ' + "9" * 100_000 + "}}"),
        "<tool_call>" * 20_000,
        "<tool_call>" + " " * 200_000,
        block('{"name": "f", "arguments": {"a": "\ud800"}}'),
        block('{"name": "f", "arguments": {"a": "\\ud800"}}'),
        block('{"name": "f", "arguments": {"\\ud800": 1}}'),
        block('{"name": "\\udfff", "arguments": {}}'),
        block("__import__('os')"),
        block('{"name": "f", "arguments": {"a": 1, "a": 2}}'),
        block('{"name": "f", "name": "g", "arguments": {}}'),
        block('{"name": "f", "arguments": {"a": NaN}}'),
        block('{"name": "f", "arguments": {"a": -Infinity}}'),
        block('{"name": "f", "arguments": {"a": 1e999}}'),
        block('{"name": "f", "arguments": [1]}'),
        block('{"name": "f", "arguments": "[1]"}'),
        block('{"name": "f", "arguments": "{} {}"}'),
        block('{"name": "f", "arguments": null}'),
        block('{"name": "f", "arguments": {}, "parameters": {}}'),
        block('{"name": "f", "city": "Rome"}'),
        block('{"name": 1, "arguments": {}}'),
        block('{"arguments": {}}'),
        block('["f"]'),
        block(""),
        '<tool_call>\n{"name": "f", "arguments": {}}',
        '{"name": "f", "arguments": {}}\n</tool_call>',
        block('{"name": "f", "arguments": {}}') + "\n<tool_call>",
    ],
    "python": [
        "f(x=" + "[" * 100_000,
        "f(x=" + "[" * 300 + "]" * 300 + ")",
        "f(x=" + "9" * 100_000 + ")",
        "f(x=" + "1-" * 100_000 + "1)",
        "f(x=" + "-" * 100_000 + "1)",
        "f(x=" + "not " * 100_000 + "1)",
        "f(" * 20_000,
        "f('" * 20_000,
        "[f(), " * 20_000,
        "f(x='\ud800')",
        "f(x='\\ud800')",
        "'\\ud800'()",
        "__import__('os')",
        "f(x=__import__('os').getcwd())",
        "f(x=[y for y in (1,)])",
        "f(x=1, x=2)",
        "f(x=1, **{'x': 2})",
        "f(x={'a': 1, 'a': 2})",
        "f(x={1: 2})",
        "f(x={1, 2})",
        "f(x={**{}})",
        "f(**[1])",
        "f(*[1])",
        "f(x=NaN)",
        "f(x=1e999)",
        "f(x=1j)",
        "f(x=b'a')",
        "f(x=f'{1}')",
        "f(x=-True)",
        "f(x=...)",
        "f(x='a\n')",
        "f(x=1",
        "f(x=1) and more",
        "[f(x=1), g(x=1)",
        "[f(x=1), 2]",
        "f(x=1)(y=2)",
        "f(x=\0)",
        "f(1)",
    ],
    "react": [
        "Action: f\nAction Input: " + "[" * 100_000,
        'Action: f\nAction Input: {"a": ' + "9" * 100_000 + "}",
        "Action:" * 50_000,
        "Action: a" + " " * 200_000 + "b",
        "Action: \n" * 50_000,
        'Action: f\nAction Input: {"a": "\\ud800"}',
        "Action: f\nAction Input: __import__('os')",
        'Action: f\nAction Input: {"a": 1, "a": 2}',
        'Action: f\nAction Input: {"a": NaN}',
        "Action: f\nAction Input: [1]",
        "Action: f\nAction Input:",
        "Action: f\nAction Input: {}}",
        "Action: f\nInput: {}",
        "Action: f\ng\nAction Input: {}",
        'Action: "f" g\nAction Input: {}',
        'Action: "f\nAction Input: {}',
        "Thought: x\nAction: f",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in HOSTILE.items() for text in texts])
def test_hostile_text_is_broken_with_a_reason(name: str, text: str) -> None:
    parsed = dialects.get(name).parse(text, ())
    assert (parsed.calls, parsed.text) == ((), text)
    assert parsed.broken
    assert "\n" not in parsed.broken
    assert len(parsed.broken) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (block('{"name": "f", "parameters": {"a": 1}}'), Parsed((Call("f", {"a": 1}),), "")),
        (block('{"name": "f", "arguments": "{\\"a\\": 1}"}'), Parsed((Call("f", {"a": 1}),), "")),
        (block('{"name": "f"}'), Parsed((Call("f", {}),), "")),
        (block('{"name": "f"}\n{"name": "g"}'), Parsed((Call("f", {}), Call("g", {})), "")),
        ('Hm.<tool_call>{"name":"f"}</tool_call> Wait.\n', Parsed((Call("f", {}),), "Hm.\n Wait.")),
        (
            block('{"name": "f", "arguments": {"a": "</tool_call>"}}'),
            Parsed((Call("f", {"a": "</tool_call>"}),), ""),
        ),
    ],
)
def test_hermes_reads_what_has_one_reading(text: str, expected: Parsed) -> None:
    assert hermes.parse(text) == expected


def test_hermes_as_written() -> None:
    assert hermes.format([Call("get_order", {"id": 7, "größe": "ü"})], "Sure.") == (
        'Sure.\n<tool_call>\n{"name": "get_order", "arguments": {"id": 7, "größe": "ü"}}\n</tool_call>'
    )
    assert hermes.format([], "Sure.") == "Sure."


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("getPaperDetails(id = 'a', n=1)", [Call("getPaperDetails", {"id": "a", "n": 1})]),
        (
            "f(a=True, b=false, c=null, d=None, e=true)",
            [Call("f", {"a": True, "b": False, "c": None, "d": None, "e": True})],
        ),
        ("move(3, y=-4)", [Call("move", {"x": 3, "y": -4})]),
        ("move(3, 4)", [Call("move", {"x": 3, "y": 4})]),
        ("f(a=1)\ng(b=(1, 2))", [Call("f", {"a": 1}), Call("g", {"b": [1, 2]})]),
        ("f(a=1)\r\ng(b=2)\r\n", [Call("f", {"a": 1}), Call("g", {"b": 2})]),
        ("f(a=1); g(b=2);", [Call("f", {"a": 1}), Call("g", {"b": 2})]),
        ("f(a=1) ; math.factorial(n=5)", [Call("f", {"a": 1}), Call("math.factorial", {"n": 5})]),
        ("\n f( a = 1 , )\n\n\n  g() \n ", [Call("f", {"a": 1}), Call("g")]),
        (r"f(a='\x41\t\101\\\q', b=r'\x41')", [Call("f", {"a": "A\tA\\\\q", "b": r"\x41"})]),
        ("f(a='x\\\ny', b='''p'\n''')", [Call("f", {"a": "xy", "b": "p'\n"})]),
        ("f(from='a', class=[1], 2fa=true)", [Call("f", {"from": "a", "class": [1], "2fa": True})]),
        ("f('x y'=1, \"z\"=2, p-q=3)", [Call("f", {"x y": 1, "z": 2, "p-q": 3})]),
        (r'f(a="\/\ud83d\ude00\x41")', [Call("f", {"a": "\\/😀A"})]),
        (r'f(a="\/\ud83d\ude00", b=' + r"'\ud83d\ude00')", [Call("f", {"a": "/😀", "b": "😀"})]),
        (
            "f(a=0x1F, b=1_000, c=-.5, d=1e3, e=(1), g=())",
            [Call("f", {"a": 31, "b": 1000, "c": -0.5, "d": 1000.0, "e": 1, "g": []})],
        ),
        ("f(\n  a='''x\n)''',\n)", [Call("f", {"a": "x\n)"})]),
        (r"f(a='\d', b=r'\d', c='\N{BULLET}')", [Call("f", {"a": "\\d", "b": "\\d", "c": "•"})]),
        ("f(a='x' 'y', b=+1, c={'k': [1.0]})", [Call("f", {"a": "xy", "b": 1, "c": {"k": [1.0]}})]),
        ("get-order(id=1)", [Call("get-order", {"id": 1})]),
        ("f(**{'from': 1, 'x-y': 2})", [Call("f", {"from": 1, "x-y": 2})]),
    ],
)
def test_python_reads_the_papers_forms(text: str, calls: list[Call]) -> None:
    assert python.parse(text, [TOOL]) == Parsed(tuple(calls), "")


def test_python_reads_names_as_the_given_tools_have_them() -> None:
    properties = {"code:": {"type": "string"}, "per page": {"type": "integer"}}
    names = ("Get Top Apps", "Get Top Apps (all)", "Top", "$x")
    tools = [Tool(name, parameters={"type": "object", "properties": properties}) for name in names]
    for text, call in (
        ('Get Top Apps(code: = "a", per page=2)', Call("Get Top Apps", {"code:": "a", "per page": 2})),
        ('Get Top Apps (all)("a", per page=2)', Call("Get Top Apps (all)", {"code:": "a", "per page": 2})),
        ("$x('code:'='a')", Call("$x", {"code:": "a"})),
        (' "Get Top Apps"(code:="a")', Call("Get Top Apps", {"code:": "a"})),
        ("Top()", Call("Top")),
    ):
        assert python.parse(text, tools) == Parsed((call,), "")
        assert python.parse(f"Top(); {text}\n{text};", tools).calls == (Call("Top"), call, call)
        assert python.parse(f"Hm.\n[{text}]", tools, tolerant=True) == Parsed((call,), "Hm.")
    for text in ("Get Top Apps (2)", "Get Top Apps(page=1, no page=2)", "Get Top Apps()x", "So: Get Top Apps()"):
        assert not python.parse(text, tools).calls
    assert python.parse("Get Top Apps()", tools[2:]).calls == ()


def test_python_positional_arguments_have_to_fit_the_schema() -> None:
    assert python.parse("move(1, 2, 3)", [TOOL]).broken
    assert python.parse("move(1, x=2)", [TOOL]).broken
    assert python.parse("other(1)", [TOOL]).broken


@pytest.mark.parametrize(
    "text",
    [
        "I look (twice).\nf(a=1)",
        "f(a=1)\nDone.",
        "f(a=1) done",
        "f(a=1) g(b=2)",
        "f(a=1);; g(b=2)",
        "[f(a=1), g(b=2)]",
        "```python\nf(a=1)\n```",
        "print(f(a=1))",
        "Sure: move(1, 2)",
        "f(a=1)  # so",
        "f(a=1, 2)",
        "f(a=012)",
        "f(a=1__0)",
        "f(a=1 2)",
        "f(,)",
    ],
)
def test_python_with_any_other_text_is_unparseable(text: str) -> None:
    parsed = python.parse(text, [TOOL])
    assert (parsed.calls, parsed.text) == ((), text)
    assert parsed.broken


def test_python_text_without_calls_is_an_answer() -> None:
    for text in ("I look (twice).", "remove(d) it, I moved (1, 2).", "See f (x).", "It moves."):
        assert python.parse(f"So: {text}", [TOOL]) == Parsed((), f"So: {text}")


def test_python_as_written() -> None:
    call = Call("get-x", {"a": "é'\"", "from": True, "x y": [None, "b"]})
    assert python.format([call, Call("g")], "Hm.") == ('get-x(a="é\'\\"", from=True, "x y"=[None, \'b\'])\ng()')
    assert python.format([], "Hm.") == "Hm."


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("python", "Hm.\n```python\nf(a=1)\n```\nSo.", Parsed((Call("f", {"a": 1}),), "Hm.\nSo.")),
        ("python", "[f(a=1), g()]", Parsed((Call("f", {"a": 1}), Call("g")), "")),
        ("python", "[\n f(a=1),\n g()\n]\n", Parsed((Call("f", {"a": 1}), Call("g")), "")),
        ("python", "f(a=1); g();\n", Parsed((Call("f", {"a": 1}), Call("g")), "")),
        (
            "hermes",
            block("{'name': 'f', 'arguments': {'a': [1, None,],},}"),
            Parsed((Call("f", {"a": [1, None]}),), ""),
        ),
        ("hermes", block('```json\n{"name": "f"}\n```'), Parsed((Call("f"),), "")),
        ("qwen", block('{"name": "f", "arguments": "{\'a\': 1,}"}'), Parsed((Call("f", {"a": 1}),), "")),
        ("react", "Action: f\nAction Input:\n```json\n{'a': True,}\n```", Parsed((Call("f", {"a": True}),), "")),
        ("llama3", '```json\n{"name": "f", "parameters": {"a": 1,}}\n```', Parsed((Call("f", {"a": 1}),), "")),
        ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1,}},]', Parsed((Call("f", {"a": 1}),), "")),
    ],
)
def test_a_lenient_runtime_reads_more(name: str, text: str, expected: Parsed) -> None:
    assert dialects.get(name).parse(text, (), tolerant=True) == expected
    strictly = dialects.get(name).parse(text, ())
    assert strictly.calls == () or "```" not in text


LENIENT = {
    "hermes": '<tool_call>{"name": "f", "arguments": %s}</tool_call>',
    "react": "Action: f\nAction Input: %s",
    "qwen": '<tool_call>{"name": "f", "arguments": %s}</tool_call>',
    "llama3": '{"name": "f", "parameters": %s}',
    "mistral": '[TOOL_CALLS] [{"name": "f", "arguments": %s}]',
}


@pytest.mark.parametrize("written", ['{"a": 1,}', "{'a': 1}", '{"a": 0x1}', '{"a": [1,]}', '{"a": (1,)}'])
@pytest.mark.parametrize("name", LENIENT)
def test_only_a_lenient_runtime_takes_python_for_json(name: str, written: str) -> None:
    dialect, text = dialects.get(name), LENIENT[name] % written
    (call,) = dialect.parse(text, (), tolerant=True).calls
    assert call.name == "f" and call.arguments in ({"a": 1}, {"a": [1]})
    strictly = dialect.parse(text, ())
    assert strictly.broken and (strictly.calls, strictly.text) == ((), text)


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
@settings(deadline=None)
@given(text=st.text() | st.text(alphabet="f([{'\"\\)}],:;=\n `<>/1aActionInput"))
def test_no_text_raises_in_a_lenient_runtime(name: str, text: str) -> None:
    parsed = dialects.get(name).parse(text, [TOOL], tolerant=True)
    assert parsed.broken is None or (parsed.calls, parsed.text) == ((), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Thought:\nAction: f\nAction Input: {"a": "1"}', Parsed((Call("f", {"a": "1"}),), "")),
        ("Thought: so\nAction: f\nAction Input: {}\n", Parsed((Call("f"),), "so")),
        ('Action: f Action Input: {"a": 1}', Parsed((Call("f", {"a": 1}),), "")),
        ('Action: "f"\nAction Input: "{}"', Parsed((Call("f"),), "")),
        ("Action: f\nAction Input: {}\nObservation: x", Parsed((Call("f"),), "Observation: x")),
        ("Thought: no tool fits", Parsed((), "Thought: no tool fits")),
    ],
)
def test_react_reads_rotbenchs_forms(text: str, expected: Parsed) -> None:
    assert react.parse(text) == expected


def test_react_as_written() -> None:
    assert react.format([Call("f", {"a": 1}), Call("g")], "so") == (
        'Thought: so\nAction: f\nAction Input: {"a": 1}\nAction: g\nAction Input: {}'
    )


def test_react_reads_every_gold_of_rotbench(shared_data: Any) -> None:
    for path in sorted((shared_data / "rotbench").glob("*/*.json")):
        for item in json.loads(path.read_text()):
            for gold in item["conversations"][-1]["value"]:
                parsed = react.parse(gold)
                assert (len(parsed.calls), parsed.broken) == (1, None)
                assert react.format(parsed.calls, parsed.text) in (gold, gold.removeprefix("Thought:\n"))


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_arguments_that_are_no_object_are_written_as_they_stand(name: str) -> None:
    text = dialects.get(name).format([Call("f", "{broken")], "")
    assert "{broken" in text
    assert dialects.get(name).parse(text, ()).broken


@pytest.mark.parametrize("name", dialects.TEXT_FORMS)
def test_what_is_no_json_is_not_written(name: str) -> None:
    with pytest.raises(ValueError):
        dialects.get(name).format([Call("f", {"a": float("nan")})], "")


def test_unknown_dialect_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'yaml'.*hermes, python, react"):
        dialects.get("yaml")
    with pytest.raises(ConfigError, match="tokenizer"):
        dialects.get("native")


def test_importing_dialects_and_judging_needs_no_torch() -> None:
    code = "import sys, tltrain.judging.json_lines; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
