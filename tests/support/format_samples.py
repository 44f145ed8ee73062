"""One small record of every input format, written for the tests."""

from __future__ import annotations

import json
from typing import Any

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
TIME = {"name": "get_time", "description": "Local time", "parameters": {"type": "object", "properties": {}}}
WRAPPED = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIME}]
REACT_SYSTEM = "Use tools.\nSpecifically, you have access of the following tools:\n{}\n\nLet's Begin!"
API_SYSTEM = "You are AutoGPT.\nSpecifically, you have access to the following APIs: {}"


def node(kind: str, text: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A node of a ToolBench tree."""
    return {"node_type": kind, "description": text, "pruned": False, "children": list(children)} | fields


OPENAI: dict[str, Any] = {
    "id": "a1",
    "messages": [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "Weather in Köln and the time?"},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Köln", "days": 9007199254740993}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
            ],
            "weight": 0,
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "tool", "content": "12:00", "tool_call_id": "c2", "name": "get_time"},
        {"role": "assistant", "content": "Rain; it is noon.", "weight": 1},
    ],
    "tools": WRAPPED,
    "parallel_tool_calls": True,
}
TL_TRAINING = {
    "id": 7,
    "conversations": [
        {"role": "system", "content": json.dumps([{"function": WEATHER}, {"function": TIME}])},
        {"role": "user", "content": "Weather in Köln?"},
        {"role": "assistant", "content": 'get_weather\n{"city": "Köln", "days": 2}'},
        {"role": "function", "content": "rain"},
        {"role": "assistant", "content": "Rain.\nTake an umbrella."},
    ],
}
TOOLALPACA_API = {
    "Name": "Skies",
    "Functions": "1. Name: get_weather",
    "Function_Description": {
        "get_weather": "Weather of a city.\nParameters: "
        + json.dumps({"city": "Required. string. The city.", "days": "integer. How many days."})
        + "\nOutput: The weather.\n - Format: text/plain",
        "components": "",
    },
}
TOOLALPACA_TRAINING = TOOLALPACA_API | {
    "Instances": [
        {
            "input": "Weather in Köln?",
            "output": "Rain.",
            "Final Thought": "I know the answer.",
            "intermediate_steps": [
                [
                    [
                        "get_weather",
                        '{"city": "Köln"}',
                        "Thought: look it up\nASSISTANT Action: get_weather\nASSISTANT Action Input: {}",
                    ],
                    "Status Code: 200. Response: rain",
                ]
            ],
        }
    ]
}
TOOLALPACA_TEST = TOOLALPACA_API | {
    "Instructions": ["Weather in Köln?", "And later?"],
    "Golden_Answers": [
        [{"Action": "get_weather", "Action_Input": '{"city": "Köln"}'}],
        [
            {"Action": "getDetails", "Action_Input": '{"Question": "Where?"}'},
            {"Action": "get_weather", "Action_Input": '{"city": ${city}}'},
        ],
    ],
}
TOOLBENCH_TREE = {
    "win": True,
    "tree": {
        "tree": node(
            "Action Input",
            "",
            node(
                "Thought",
                "First the weather.",
                node(
                    "Action",
                    "get_weather",
                    node(
                        "Action Input",
                        '{"city": "Köln"}',
                        node("Thought", "That failed.", pruned=True),
                        node(
                            "Action",
                            "Finish",
                            node("Action Input", '{"final_answer": "rain"}', observation="done", observation_code=3),
                        ),
                        observation='{"error": ""}',
                        observation_code=0,
                    ),
                ),
            ),
            node("Action", "get_time", node("Action Input", "not json", observation="no", observation_code=11)),
        )
    },
    "answer_generation": {
        "query": "Weather in Köln?",
        "function": [WEATHER],
        "finish_type": "give_answer",
        "train_messages": [
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Köln?\nBegin!"}]
        ],
    },
}
TOOLBENCH_CONVERSATION = {
    "id": "Step 1: weather",
    "conversations": [
        {"from": "system", "value": API_SYSTEM.format(repr([WEATHER | {"optional": None}]))},
        {"from": "user", "value": "\nWeather in Köln?\nBegin!\n"},
        {"from": "assistant", "value": '\nThought: look\nAction: get_weather\nAction Input: {\n  "city": "Köln"\n}'},
        {"from": "function", "value": '{"error": "", "response": "rain"}'},
    ],
}
ROTBENCH = {
    "id": "Turn 1: weather",
    "conversations": [
        {"from": "system", "value": REACT_SYSTEM.format(json.dumps([WEATHER, TIME]))},
        {"from": "user", "value": "Weather in Köln?\nBegin!\n"},
        {"from": "assistant", "value": "Thought: time first\nAction: get_time\nAction Input: {}"},
        {"from": "function", "value": "12:00"},
        {
            "from": "assistant",
            "value": [
                'Thought:\nAction: get_weather\nAction Input: {"city": "Köln"}',
                'Thought:\nAction: get_weather\nAction Input: {"city": "Cologne"}',
            ],
        },
    ],
    "scenario": "RS",
}
TOOLEYES = {
    "id": "Turn 1: weather",
    "conversations": ROTBENCH["conversations"][:2],
    "path": "Tool_Library/Weather",
    "scenario": "RS",
}
SEALTOOLS = {
    "id": "dev-hard-1",
    "query": "Weather where Ann lives?",
    "calling": [
        {"api": "get_city", "parameters": {"person": "Ann"}, "responses": ["API_call_0"]},
        {"api": "get_weather", "parameters": {"city": "API_call_0"}, "responses": ["API_call_1"]},
    ],
}
TOOLRL = {
    "instruction": "Help.\n\n**Available Tools**\nIn your response, you can use the following tools:\n"
    '1. Name: Get Weather\nDescription: Weather of a city\nParameters: {"city": {"type": "str", "default": ""}}\n'
    "2. Name: Get Time\nDescription: Local time,\nin words\nParameters: {}\n\n**Steps for Each Turn**\n1. Think",
    "input": "**Dialogue Records History**\n<user> Weather and time? </user>\n\n<think> both </think>\n<tool_call>\n"
    '{"name": "Get Weather", "parameters": {"city": "Köln"}}\n{"name": "Get Time", "parameters": {}}\n</tool_call>\n'
    '<obs> [{"name": "Get Weather", "results": "rain"}, {"name": "Get Time", "results": "12:00"}] </obs>',
    "output": "<think> I know. </think>\n<response> Rain at noon. </response>",
}
TAUBENCH = {
    "task_id": 3,
    "reward": 0.0,
    "info": {"source": "user"},
    "traj": OPENAI["messages"],
    "trial": 1,
}
LLAMA_FACTORY = {
    "conversations": [
        {"from": "human", "value": "Weather and time?"},
        {
            "from": "function_call",
            "value": json.dumps([{"name": "get_weather", "arguments": {"city": "Köln"}}, {"name": "get_time"}]),
        },
        {"from": "observation", "value": json.dumps(["rain", "12:00"])},
        {"from": "gpt", "value": "Rain at noon."},
    ],
    "system": "Help.",
    "tools": json.dumps([WEATHER, TIME]),
}
MS_SWIFT = {
    "messages": [
        {"role": "user", "content": "Weather and time?"},
        {"role": "assistant", "content": "One moment."},
        {"role": "tool_call", "content": '{"name": "get_weather", "arguments": {"city": "Köln"}}', "loss_scale": 0.0},
        {"role": "tool_call", "content": '{"name": "get_time", "arguments": {}}'},
        {"role": "tool_response", "content": "rain"},
        {"role": "tool_response", "content": "12:00"},
        {"role": "assistant", "content": "Rain at noon.", "loss": True},
    ],
    "tools": json.dumps(WRAPPED),
}
XLAM = {
    "id": 12,
    "query": "Weather in Köln?",
    "answers": json.dumps([{"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}]),
    "tools": json.dumps(
        [
            {
                "name": "get_weather",
                "description": "Weather of a city",
                "parameters": {
                    "city": {"type": "str", "description": "The city"},
                    "type": {"type": "str, optional", "description": "rain or sun"},
                    "days": {"type": "int", "default": 1},
                    "at": {"type": "List[float], optional"},
                },
            }
        ]
    ),
}
HERMES = {
    "id": "h1",
    "conversations": [
        {"from": "system", "value": f"You may call functions.\n<tools> {[WRAPPED[0]]!r} </tools>"},
        {"from": "human", "value": "Weather in Köln?"},
        {
            "from": "gpt",
            "value": "Looking.\n"
            "<tool_call>\n{'arguments': {'city': 'Köln', 'now': True}, 'name': 'get_weather'}\n</tool_call>",
        },
        {"from": "tool", "value": '<tool_response>\n{"weather": "rain"}\n</tool_response>'},
        {"from": "gpt", "value": "Rain."},
    ],
    "category": "weather",
}
ANTHROPIC = {
    "system": [{"type": "text", "text": "Help."}],
    "messages": [
        {"role": "user", "content": "Weather in Köln?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "look it up", "signature": "xyz"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Köln"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "no such city", "is_error": True},
                {"type": "text", "text": "Try again."},
            ],
        },
        {"role": "assistant", "content": "I cannot."},
    ],
    "tools": [{"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER["parameters"]}],
}

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "tau-bench": [TAUBENCH],
    "toolbench": [TOOLBENCH_TREE, TOOLBENCH_CONVERSATION],
    "rotbench": [ROTBENCH],
    "tooleyes": [TOOLEYES],
    "tl-training": [TL_TRAINING],
    "hermes": [HERMES],
    "llama-factory": [LLAMA_FACTORY],
    "toolalpaca": [TOOLALPACA_TRAINING, TOOLALPACA_TEST],
    "seal-tools": [SEALTOOLS],
    "xlam": [XLAM],
    "toolrl": [TOOLRL],
    "anthropic": [ANTHROPIC],
    "ms-swift": [MS_SWIFT],
    "openai": [OPENAI],
}
