from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flowcore.cli import main

OPS = '''
from __future__ import annotations
from enum import Enum
from typing import TYPE_CHECKING, Annotated
from flowcore import BaseAsyncOp, C
from pydantic import Field
if TYPE_CHECKING:
    from nowhere import Thing

class Mode(Enum):
    FAST = "fast"

@C.register_op()
class FindOp(BaseAsyncOp):
    """Finds texts
    for a question.

    In the index.
    """
    top_k: Annotated[int, Field(gt=0, description="How many texts")] = 3
    index: str
    thing: Thing = None
    mode: Mode = Mode.FAST

    async def async_execute(self): ...

@C.register_op()
class BadOp(FindOp):
    top_k = "many"
'''


@pytest.fixture(autouse=True)
def ops(write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "listed_ops", raising=False)
    write("listed_ops.py", OPS)
    write("my.yaml", "imports: [listed_ops]\nflow: {f: {flow_content: UnknownOp()}}\n")


def listed(*args: str) -> str:
    result = CliRunner().invoke(main, ["ops", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_ops_are_listed_with_their_parameters_whatever_the_flows_say() -> None:
    lines = listed("config=my").splitlines()
    start = lines.index("FindOp  from module 'listed_ops'")

    assert lines[start + 1 : start + 6] == [
        "  Finds texts for a question.",
        "    index: str                        required",
        "    top_k: int = 3                    How many texts",
        "    thing: Thing = None               not checked",
        "    mode: Mode = <Mode.FAST: 'fast'>",
    ]


def test_an_op_with_a_wrong_default_is_listed_with_the_error() -> None:
    assert "  BadOp: the default of parameter 'top_k' (int) must be" in listed("config=my")


def test_ops_are_listed_as_json() -> None:
    rows: list[dict[str, Any]] = json.loads(listed("config=my", "--json"))
    (found,) = [row for row in rows if row["name"] == "FindOp"]

    assert found["origin"] == "module 'listed_ops'"
    assert found["error"] == ""
    assert [row["default"] for row in found["parameters"]] == [None, 3, None, "<Mode.FAST: 'fast'>"]
    assert found["parameters"][1] == {
        "name": "top_k", "type": "int", "required": False, "default": 3,
        "description": "How many texts", "checked": True,
    }  # fmt: skip


def test_without_a_configuration_the_ops_of_plugins_are_listed() -> None:
    assert "StreamChatOp  from plugin 'chat' (flowcore-chat " in listed()
    assert "FindOp" not in listed()


def test_a_module_that_cannot_be_imported_is_told() -> None:
    Path("my.yaml").write_text("imports: [missing_ops]\n", encoding="utf-8")

    result = CliRunner().invoke(main, ["ops", "config=my"])

    assert result.exit_code == 2
    assert "cannot import 'missing_ops'" in result.output
