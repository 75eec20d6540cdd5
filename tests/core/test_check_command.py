from __future__ import annotations

import py_compile
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from flowcore.cli import main

Write = Callable[[str, str], Path]

OPS = """
from flowcore import BaseAsyncOp, C

@C.register_op()
class OneOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        pass

@C.register_op()
class TwoOp(OneOp):
    pass
"""

CONFIG = """
imports: [check_ops_xyz]
backend: http
flow:
  first: {flow_content: OneOp(size=2) >> TwoOp()}
  second: {flow_content: TwoOp()}
"""


def check(*args: str) -> Result:
    return CliRunner().invoke(main, ["check", *args])


@pytest.fixture(autouse=True)
def config(write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write("check_ops_xyz.py", OPS)
    write("my.yaml", CONFIG)
    monkeypatch.syspath_prepend(".")
    yield
    sys.modules.pop("check_ops_xyz", None)


def test_a_single_flow_can_be_shown() -> None:
    result = check("config=my", "--flow", "second")

    assert result.exit_code == 0
    assert "second (no stream)" in result.output
    assert "first" not in result.output
    assert "ok: 2 flows" in result.output


def test_a_flow_that_is_not_there_is_an_error_with_the_nearest_name() -> None:
    result = check("config=my", "--flow", "secnd", "--mermaid")

    assert result.exit_code == 2
    assert "unknown flow 'secnd'; did you mean 'second'?" in result.output


def test_flows_are_printed_for_mermaid() -> None:
    result = check("config=my", "--mermaid")

    assert result.exit_code == 0
    assert result.stdout.startswith('flowchart TD\n    subgraph flow0["first"]\n')
    assert check("config=my", "--mermaid", "--flow", "second").stdout == (
        'flowchart TD\n    op0["TwoOp"]\n'
    )


def test_flows_are_drawn_into_a_file(tmp_path: Path) -> None:
    result = check("config=my", "--svg", "flows.svg")

    assert result.exit_code == 0
    assert result.output == ""
    root = ET.parse(tmp_path / "flows.svg").getroot()
    assert root[0].text == "first, second"
    assert "prefers-color-scheme" in (tmp_path / "flows.svg").read_text(encoding="utf-8")


def test_a_drawing_is_printed_to_a_dash() -> None:
    root = ET.fromstring(check("config=my", "--flow", "first", "--svg", "-").stdout)

    places = [each.get("data-op") for each in root.iter() if each.get("class") == "op"]
    assert places == ["0.0", "0.1"]


def test_a_file_that_cannot_be_written_is_told() -> None:
    result = check("config=my", "--svg", "nowhere/flows.svg")

    assert result.exit_code == 1
    assert "nowhere/flows.svg" in result.output


def test_a_setting_is_not_taken_for_the_file_of_a_drawing() -> None:
    result = check("--svg", "config=my")

    assert result.exit_code == 2
    assert "write --svg flows.svg config=my" in result.output


def test_one_diagram_at_a_time() -> None:
    result = check("config=my", "--svg", "-", "--mermaid")

    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_what_is_wrong_is_told_and_nothing_is_drawn(tmp_path: Path) -> None:
    result = check("config=my", "flow.first.flow_content=NoOp()", "--svg", "flows.svg")

    assert result.exit_code == 2
    assert not (tmp_path / "flows.svg").exists()


def test_a_flow_is_not_taken_for_the_name_of_a_file(tmp_path: Path) -> None:
    result = check("config=my", "--svg", "second")

    assert result.exit_code == 2
    assert "write --flow second --svg second.svg" in result.output
    assert not (tmp_path / "second").exists()


def test_who_forgot_to_import_an_op_sees_what_is_imported_and_where_that_is_said() -> None:
    result = check("config=my", "flow.first.flow_content=Zzzzzz()")

    assert "nor does a module under `imports` (check_ops_xyz, as my.yaml:2 says)" in result.output


def test_calls_of_flowllm_that_ops_still_hold_are_told_with_file_and_line(write: Write) -> None:
    module = write(
        "check_ops_xyz.py",
        """\
from flowcore import BaseAsyncOp, BaseOp, C

async def say(context, text):
    await context.add_stream_string_and_type(chunk=text, chunk_type="answer")

@C.register_op()
class OneOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        await say(self.context, "add_stream_done()")  # which is no call
        await (self.context
            .add_stream_done())

@C.register_op()
class TwoOp(BaseOp):
    def execute(self):
        self.context.add_stream_string_and_type("hm", "think")
        self.add_stream_done()

    def add_stream_done(self):
        pass
""",
    )

    result = check("config=my")

    assert result.exit_code == 0
    told = [line for line in result.output.splitlines() if "warning" in line]
    assert [line.partition(" is FlowLLM's: ")[0] for line in told] == [
        f"warning: {module}:4: context.add_stream_string_and_type",
        f"warning: {module}:13: context.add_stream_done",
        f"warning: {module}:18: context.add_stream_string_and_type",
    ]
    assert "write `await self.context.add_stream_text(text, chunk_type)`" in told[0]
    assert "delete the call" in told[1]
    assert "write `self.context.add_stream_text_sync(text, chunk_type)`" in told[2]


def test_what_ops_had_of_their_own_in_flowllm_is_told(write: Write):
    module = write(
        "check_ops_xyz.py",
        """\
from flowcore import BaseAsyncOp, BaseOp, C

class Pool:
    def drain(self):
        self.join_task()  # which is no op

@C.register_op()
class OneOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        self.submit_async_task(print, self.op_params["x"])
        await self.join_async_task()

@C.register_op()
class TwoOp(BaseOp):
    op_params: dict = {}

    def execute(self):
        self.task_list = []
        self.submit_task(print, self.op_params["x"])
        self.join_task = list
        self.join_task()
""",
    )

    told = [line for line in check("config=my").output.splitlines() if "warning" in line]
    assert sorted(line.partition(" is FlowLLM's: ")[0] for line in told) == [
        f"warning: {module}:12: self.op_params",
        f"warning: {module}:12: self.submit_async_task",
        f"warning: {module}:13: self.join_async_task",
        f"warning: {module}:21: self.submit_task",
    ]
    by_name = {line.partition(" is FlowLLM's: ")[0].rpartition(".")[2]: line for line in told}
    assert "declare the parameter on the class" in by_name["op_params"]
    assert "anyio.create_task_group()" in by_name["join_async_task"]
    assert "`AOp() | BOp()`" in by_name["submit_task"]


def test_arguments_of_flowllms_models_are_told(write: Write):
    module = write(
        "check_ops_xyz.py",
        """\
from flowcore import BaseAsyncOp, BaseOp, C

@C.register_op()
class OneOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        await self.llm.achat(
            [],
            callback_fn=str,
            temperature=0,
        )
        self.parse(callback_fn=str)

@C.register_op()
class TwoOp(BaseOp):
    def execute(self):
        return self.llm.chat([], default_value=None)
""",
    )

    told = [line for line in check("config=my").output.splitlines() if "warning" in line]
    assert [line.partition(" is FlowLLM's: ")[0] for line in told] == [
        f"warning: {module}:10: callback_fn=",
        f"warning: {module}:18: default_value=",
    ]


def test_braces_that_prompts_doubled_for_flowllm_are_told_once_of_each_file(
    write: Write, tmp_path: Path
):
    clean = """p: 'Say {"a": {"b": {c}}}, or {{ name }} in a template.'"""
    for name, text in (("one", "p: |\n  {{\n    {{}}\n  }}"), ("two", clean)):
        write(f"{name}_prompt.yaml", text)
    flows = "OneOp(prompt_path='one_prompt.yaml') >> TwoOp(prompt_path='two_prompt.yaml')"
    write("my.yaml", f"imports: [check_ops_xyz]\nflow: {{a: {{flow_content: {flows}}}}}")

    told = [line for line in check("config=my").output.splitlines() if "warning" in line]
    assert [line.partition(" a brace is doubled")[0] for line in told] == [
        f"warning: {tmp_path / 'one_prompt.yaml'}:2:"
    ]


def test_a_context_under_another_name_of_the_same_function_is_followed(write: Write):
    module = write(
        "check_ops_xyz.py",
        """\
from flowcore import BaseAsyncOp, BaseOp, C

@C.register_op()
class OneOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        ctx = self.context

        async def end():
            await ctx.add_stream_done()

        await end()

@C.register_op()
class TwoOp(BaseOp):
    def execute(self):
        c = context = self.context
        c.add_response_error(ValueError())
        ctx.add_stream_done()  # which is another function's
""",
    )

    told = [line for line in check("config=my").output.splitlines() if "warning" in line]
    assert [line.partition(" is FlowLLM's: ")[0] for line in told] == [
        f"warning: {module}:11: context.add_stream_done",
        f"warning: {module}:19: context.add_response_error",
    ]
    assert "raise the error, which ends the run as failed" in told[1]


def test_what_a_class_has_from_elsewhere_is_not_taken_for_what_is_missing(write: Write):
    write(
        "check_bases_xyz.py",
        """\
class Base:
    def configure(self):
        self.op_params = self.set_output = str

class Reached:
    def __getattr__(self, name):
        return str

class Context:
    def add_stream_done(self): ...
""",
    )
    write(
        "check_ops_xyz.py",
        """\
from check_bases_xyz import Base, Context, Reached
from flowcore import BaseAsyncOp, BaseOp, C

class Answers:
    def add_response_error(self, error): ...

@C.register_op()
class OneOp(Base, BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        self.set_output(self.op_params)
        setattr(self, "tool_call", 1)
        if hasattr(self, "join_task"):
            self.join_task(self.tool_call)
        context = Context()
        context.add_stream_done()

@C.register_op()
class TwoOp(Reached, BaseOp):
    def execute(self):
        self.submit_task(self.input_dict)
        say(Answers())

def say(context):
    context.add_response_error(ValueError())
""",
    )

    result = check("config=my")

    assert result.exit_code == 0
    assert "warning" not in result.output


def test_ops_without_a_source_are_checked_as_far_as_they_can_be(tmp_path: Path) -> None:
    source = tmp_path / "check_ops_xyz.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()

    result = check("config=my")

    assert "warning" not in result.output
    assert "ok: 2 flows" in result.output
