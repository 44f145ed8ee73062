"""What executes calls in `tltrain try`: Python functions, and real MCP servers, honest, hanging and lying."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import call, mistake
from support.scripted import calling, scripted

from tltrain.audit.feedback import feedback_failed
from tltrain.chat.conversation import Conversation, EndEvent
from tltrain.chat.functions import FunctionTools, load_functions
from tltrain.errors import ToolError
from tltrain.trajectory import Call

SERVER = Path(__file__).parent / "support" / "mcp_server.py"

# Python functions

FILE = '''
"""Orders."""
import asyncio
from typing import Literal

ORDERS = {"A-1": {"state": "paid", "items": 2}}


def get_order(order_id: str, parts: list[str] | None = None, limit: int = 3) -> dict:
    """
    The state of an order.

    Args:
        order_id: The number of the order.
        parts: Which parts of it.
        limit: At most so many items.
    """
    print("looking for", order_id)
    return {**ORDERS[order_id], "limit": limit}


async def list_orders(state: Literal["paid", "sent"] = "paid") -> str:
    """
    Orders in a state.

    Args:
        state: Their state.
    """
    await asyncio.sleep(0)
    return f"orders {state}: " + "\\ud800".join(ORDERS)


def leave():
    """Ends the program."""
    raise SystemExit("bye\\x1b")


def make_set():
    """A value without JSON."""
    return {1, 2}


def _hidden(x: int) -> int:
    return x
'''


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> FunctionTools:
    path = tmp_path_factory.mktemp("tools") / "orders.py"
    path.write_text(FILE)
    return load_functions(path)


def test_schemas_come_from_signatures_and_docstrings(functions: FunctionTools) -> None:
    assert [tool.name for tool in functions.tools] == ["get_order", "list_orders", "leave", "make_set"]
    order = functions.tools[0]
    assert order.description == "The state of an order." and order.required == ("order_id",)
    assert order.properties["order_id"] == {"type": "string", "description": "The number of the order."}
    assert order.properties["parts"]["items"] == {"type": "string"}
    assert functions.tools[1].properties["state"]["enum"] == ["paid", "sent"]


def test_functions_are_called(functions: FunctionTools, capsys: pytest.CaptureFixture[str]) -> None:
    result = functions.execute(Call("get_order", {"order_id": "A-1", "limit": "5"}))
    assert json.loads(result) == {"state": "paid", "items": 2, "limit": 5}
    assert capsys.readouterr() == ("", "looking for A-1\n")
    assert functions.execute(Call("list_orders", {})) == "orders paid: A-1"
    assert json.loads(functions.execute(Call("make_set", {}))) == "{1, 2}"


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (Call("get_order", {"order_id": "A-9"}), "KeyError: 'A-9'"),
        (Call("get_order", {}), "order_id: Missing required argument"),
        (Call("get_order", {"order_id": "A-1", "all": True}), "all: Unexpected keyword argument"),
        (Call("get_order", {"order_id": "A-1", "limit": "many"}), "limit: Input should be a valid integer"),
        (Call("list_orders", {"state": "lost"}), "state: Input should be 'paid' or 'sent'"),
        (Call("get_order", "A-1"), "not a JSON object"),
        (Call("_hidden", {"x": 1}), "no tool named _hidden"),
        (Call("leave", {}), "SystemExit: bye\\x1b"),
    ],
)
def test_failing_calls_have_an_error_as_result(functions: FunctionTools, made: Call, error: str) -> None:
    result = functions.execute(made)
    assert error in json.loads(result)["error"] and feedback_failed(result) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", r"tools\.py:1: "),
        ("\nx = 1 / 0", r"tools\.py:2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)", r"tools\.py:2: SystemExit"),
        ("x = 1", "defines no public function"),
        ("def f(x: int):\n    '''Does.'''", "f: .*no description for the argument 'x'"),
        ("def f(x):\n    '''Does.\n\n    Args:\n        x: It.\n    '''", "f: .*missing a type hint"),
        ("def f():\n    return 1", "f: .*docstring"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tools.py"
    path.write_text(text)
    with pytest.raises(ToolError, match=message) as raised:
        load_functions(path)
    assert "\n" not in str(raised.value)


def test_all_names_the_tools_and_the_file_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_tools.py").write_text("def greet():\n    '''Greets.'''\n    return 'Hello'\n")
    path = tmp_path / "tools.py"
    path.write_text("from neighbour_of_tools import greet\n__all__ = ['greet']\ndef other():\n    '''Other.'''\n")
    found = load_functions(path)
    assert [tool.name for tool in found.tools] == ["greet"] and found.execute(Call("greet", {})) == "Hello"


# MCP servers

mcp = pytest.importorskip("mcp")
from tltrain.chat.mcp_server import McpTools, open_mcp  # noqa: E402  needs the extra


def command(*mood: object) -> str:
    return shlex.join([sys.executable, str(SERVER), *map(str, mood)])


def refuse(text: str) -> None:
    raise AssertionError(text)


def test_calls_are_executed_by_a_server_over_stdio() -> None:
    with open_mcp(command("honest"), 60, warn=refuse) as tools:
        assert {"get_order", "wait"} <= {tool.name for tool in tools.tools}
        order = next(tool for tool in tools.tools if tool.name == "get_order")
        assert order.description == "The state of an order." and order.required == ("order_id",)
        conversation = Conversation(scripted(calling("get_order", order_id="A-1"), "Shipped."), tools)
        made, end = conversation.ask("Where is A-1?")
        assert end == EndEvent("answer", "Shipped.") and made.to_json()["result"] == "shipped"
        failed = tools.execute(Call("get_order", {"order_id": "A-9"}))
        assert "no order A-9" in failed and feedback_failed(failed) is not None
        assert "Field required" in tools.execute(Call("get_order", {"order": "A-1"}))
        assert "no tool named" in tools.execute(Call("drop_table", {}))
        assert "not a JSON object" in tools.execute(Call("get_order", "A-1"))
        assert "[truncated: the result has 200,000 characters]" in tools.execute(Call("repeat", {"count": 200_000}))
        assert tools.execute(Call("trick", {})).startswith("\x1b[2J")
        # Over the limit: the connection is given up, and says so from then on.
        for _ in range(2):
            assert "more than 4 MB" in tools.execute(Call("repeat", {"count": 9_000_000}))


def test_a_slow_call_does_not_end_the_connection() -> None:
    with open_mcp(command("honest"), 60, warn=refuse) as tools:
        tools.connection.seconds = 0.5
        assert "did not answer within 0.5 s" in tools.execute(Call("wait", {"seconds": 1}))
        tools.connection.seconds = 60
        assert tools.execute(Call("get_order", {"order_id": "A-2"})) == "paid"
        result = tools.execute(Call("crash", {}))
        assert "the MCP server ended: Fatal" in result and "\x1b" not in result


def open_and_call(*mood: object, seconds: float = 60, warnings: list[str] | None = None) -> str:
    with open_mcp(command(*mood), seconds, warn=refuse if warnings is None else warnings.append) as tools:
        return tools.execute(Call("get_order", {"order_id": "A-1"}))


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("version", "Unsupported protocol version"),
        ("no-schema", "sent an invalid answer: tools.0.inputSchema"),
        ("endless", "the limit is 1,000"),
        ("dies", "ended: ModuleNotFoundError"),
    ],
)
def test_servers_that_cannot_be_used_say_why(mood: str, message: str) -> None:
    with pytest.raises(ToolError, match=message) as raised:
        open_and_call(mood)
    assert "\n" not in str(raised.value) and str(raised.value).startswith("MCP server ")


def test_malformed_specifications_are_left_out() -> None:
    warnings: list[str] = []
    assert "sent an invalid answer: content" in open_and_call("schema", warnings=warnings)
    assert len(warnings) == 2 and "'strnig' is not a JSON Schema type" in warnings[0] and "twice" in warnings[1]
    with pytest.raises(ToolError, match="no valid tool"):
        open_and_call("only-bad", warnings=warnings)


def test_a_hundred_megabytes_are_not_read() -> None:
    assert "sent a message of more than 4 MB" in open_and_call("huge")


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_a_server_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="did not answer within 5 s"):
        open_and_call("hang", tmp_path / "child", seconds=5)
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.1)
    assert not is_running(child)


def test_output_that_is_no_protocol_is_quoted() -> None:
    with pytest.raises(ToolError, match="did not answer within 3 s: it wrote 'Listening on stdio …'"):
        open_and_call("junk", seconds=3)


def test_the_command_reports_servers_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert "ended: ModuleNotFoundError" in mistake("try", "m", "--query", "a", "--mcp", command("dies"))
    assert "cannot be started" in mistake("try", "m", "--query", "a", "--mcp", "/no/such/server")
    assert "No closing quotation" in mistake("try", "m", "--query", "a", "--mcp", "'")
    assert "expected the command" in mistake("try", "m", "--query", "a", "--mcp", " ")
    assert "cannot be reached" in mistake("try", "m", "--query", "a", "--mcp", "http://127.0.0.1:9/mcp")
    assert capfd.readouterr() == ("", "")


def test_the_command_talks_over_mcp(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = scripted(calling("trick"), "Done.")
    monkeypatch.setattr("tltrain.chat.loading.load_speaker", lambda *given: speaker)
    code, out, err = call("try", "m", "--query", "Do it.", "--mcp", command("honest"))
    assert code == 0 and "\\x1b[2J[red]done[/red]\\u202e {{ 7*7 }}" in out and "\x1b" not in out + err


# Over HTTP


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = subprocess.Popen([sys.executable, SERVER, "http", str(port)], stderr=subprocess.DEVNULL, env=environment)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_calls_are_executed_by_a_server_over_http(url: str) -> None:
    with open_mcp(f"{url}/mcp", 60, warn=refuse) as tools:
        assert tools.execute(Call("get_order", {"order_id": "A-1"})) == "shipped"
        tools.connection.seconds = 0.5
        assert "did not answer within 0.5 s" in tools.execute(Call("wait", {"seconds": 1}))
        tools.connection.seconds = 60
        assert isinstance(tools, McpTools) and tools.execute(Call("get_order", {"order_id": "A-2"})) == "paid"
        assert "sent a response of more than 4 MB" in tools.execute(Call("repeat", {"count": 9_000_000}))


def test_a_wrong_address_has_its_status(url: str) -> None:
    with pytest.raises(ToolError, match="answers with HTTP status 404"), open_mcp(f"{url}/nowhere", 60, warn=refuse):
        pass
