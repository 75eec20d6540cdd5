from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowcore import BaseAsyncOp, ConfigError, FlowApp, PromptError
from flowcore.prompt import Prompts
from flowcore.testing import run_op

Write = Callable[[str, str], Path]

OP = """
from flowcore import BaseAsyncOp

class GreetOp(BaseAsyncOp):
    file_path: str = __file__

    async def async_execute(self):
        self.context.response.answer = self.prompt_format("greet", name="Bob")
"""


@pytest.fixture
def module(write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Return a function that writes a module and imports it."""
    monkeypatch.syspath_prepend(".")
    names: list[str] = []

    def make(name: str, source: str) -> Any:
        write(f"{name}.py", source)
        names.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for name in names:
        del sys.modules[name]


def prompts(write: Write, text: str, language: str = "") -> Prompts:
    return Prompts(write("x_prompt.yaml", text), language)


# --- where prompts stand


@pytest.mark.parametrize(
    ("op_file", "prompt_file"),
    [("greet_op", "greet_prompt.yaml"), ("greet", "greet_prompt.yaml"), ("op", "prompt.yaml")],
)
async def test_an_op_finds_its_prompts_beside_its_file(
    write: Write, module: Any, op_file: str, prompt_file: str
) -> None:
    write(prompt_file, "greet: Hello {name}!")

    result = await run_op(module(op_file, OP).GreetOp())

    assert result.response.answer == "Hello Bob!"


async def test_file_path_is_optional(write: Write, module: Any) -> None:
    write("plain_prompt.yaml", "greet: Hi {name}!")

    op = module("plain_op", OP.replace("    file_path: str = __file__\n", "")).GreetOp()

    assert (await run_op(op)).response.answer == "Hi Bob!"


async def test_prompt_path_names_another_file_relative_to_that_of_the_op(
    write: Write, module: Any
) -> None:
    write("texts/other.yaml", "greet: Hey {name}!")

    op = module("far_op", OP).GreetOp(prompt_path="texts/other.yaml")

    assert (await run_op(op)).response.answer == "Hey Bob!"


async def test_an_op_without_prompts_says_so_when_it_asks_for_one(module: Any) -> None:
    with pytest.raises(
        PromptError, match=r"the op has no prompt file, which would be .*_prompt\.yaml"
    ):
        await run_op(module("bare_op", OP).GreetOp())


def test_a_missing_prompt_path_stops_the_start(module: Any) -> None:
    op = module("lost_op", OP).GreetOp(prompt_path="nowhere.yaml")

    with pytest.raises(ConfigError, match=r"flow 'f'.*cannot read the prompt file .*nowhere\.yaml"):
        FlowApp({}, flows={"f": op})


async def test_a_changed_file_is_read_anew_by_the_next_app(write: Write, module: Any) -> None:
    write("fresh_prompt.yaml", "greet: old")
    op = module("fresh_op", OP).GreetOp()
    assert (await run_op(op)).response.answer == "old"

    write("fresh_prompt.yaml", "greet: new")

    assert (await run_op(op)).response.answer == "new"


# --- languages


@pytest.mark.parametrize(
    ("app", "op", "expected"),
    [
        ("", "", "hello"),
        ("zh", "", "你好"),
        ("fr", "", "hello"),
        ("zh", "de", "hallo"),
        ("", "zh", "你好"),
    ],
)
async def test_the_variant_in_the_ops_language_wins_else_the_plain_one(
    write: Write, app: str, op: str, expected: str
) -> None:
    path = write("greet.yaml", "greet: hello\ngreet_zh: 你好\ngreet_de: hallo\n")

    class SpeakOp(BaseAsyncOp):
        async def async_execute(self) -> None:
            self.context.response.answer = self.get_prompt("greet")

    result = await run_op(SpeakOp(prompt_path=str(path), language=op), {"language": app})

    assert result.response.answer == expected


# --- substitution


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Hello {name}", {"name": "Bob"}, "Hello Bob"),
        ("{a}{b}{a}", {"a": 1, "b": 2.5}, "12.51"),
        ('{"json": {"q": "{q}"}}', {"q": "x"}, '{"json": {"q": "x"}}'),
        ("{q}", {"q": "{other} {q} {0} {}"}, "{other} {q} {0} {}"),
        ("{a}", {"a": "{b}", "b": "never"}, "{b}"),
        ("{unknown} {}", {"a": "x"}, "{unknown} {}"),
        ("{{q}}", {"q": "x"}, "{x}"),
        ("{q.x} {q[0]} {q!r} {q:>9}", {"q": "x"}, "{q.x} {q[0]} {q!r} {q:>9}"),
        ("100% $q \\{q}", {"q": "\\1\\g<0>"}, "100% $q \\\\1\\g<0>"),
        ("{a+b} {a.b}", {"a": "x"}, "{a+b} {a.b}"),
        ("{prompt_name}", {"prompt_name": "x"}, "x"),
        ("no values", {}, "no values"),
    ],
)
def test_only_the_given_names_are_replaced_once(
    write: Write, text: str, values: dict[str, Any], expected: str
) -> None:
    escaped = text.replace("'", "''")

    assert prompts(write, f"p: '{escaped}'").format("p", values) == expected


async def test_an_op_may_say_the_name_of_a_prompt_by_keyword(module, write: Write) -> None:
    write("hello_prompt.yaml", "greet: 'Hello {name}'\nnamed: 'I am {prompt_name}'\n")
    named = OP.replace('"greet", name', 'prompt_name="greet", name')
    gap = OP.replace('"greet", name', '"named", prompt_name')

    for op, answer in ((named, "Hello Bob"), (gap, "I am Bob")):
        made = module(f"hello{len(answer)}_op", op).GreetOp(prompt_path="hello_prompt.yaml")
        assert (await run_op(made)).response.answer == answer


def test_a_boolean_switches_lines_that_bear_its_name(write: Write) -> None:
    text = "p: |\n  always\n  [brief]be brief\n  [long]be long\n  [other]stays\n"

    assert prompts(write, text).format("p", {"brief": True, "long": False}) == (
        "always\nbe brief\n[other]stays\n"
    )


def test_get_returns_the_text_as_it_stands(write: Write) -> None:
    assert prompts(write, "p: 'a {b} c'").get("p") == "a {b} c"


# --- what is wrong


def test_an_unknown_prompt_is_met_with_the_file_and_the_nearest_name(write: Write) -> None:
    with pytest.raises(PromptError, match=r"no prompt 'gret' in .*x_prompt\.yaml; did you mean"):
        prompts(write, "greet: hi").get("gret")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "must be a mapping of names to texts"),
        ("p: 5", "'p' must be a text"),
        ("5: text", "every name and every prompt must be a text"),
        ("'root:x:0': 7", "every name and every prompt must be a text"),
        ("p: [a]", "'p' must be a text"),
        ("p: !!python/object/apply:os.system ['true']", "cannot read the prompt file"),
        ("p: 'open", "cannot read the prompt file"),
    ],
)
def test_a_malformed_file_is_refused(write: Write, text: str, said: str) -> None:
    with pytest.raises(PromptError, match=r"x_prompt\.yaml") as caught:
        prompts(write, text)

    assert said in str(caught.value)


def test_a_file_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    for content in (b"p: \xff\xfe", b"p: " + b"x" * (4 * 1024 * 1024)):
        (tmp_path / "x.yaml").write_bytes(content)
        with pytest.raises(PromptError, match=r"x\.yaml"):
            Prompts(tmp_path / "x.yaml")


def test_what_is_no_regular_file_is_refused_without_waiting_for_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(PromptError, match="not a regular file"):
            Prompts(path)


def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="cannot read the prompt file"):
        Prompts(tmp_path / "x\0y")


def test_an_empty_file_has_no_prompts(write: Write) -> None:
    with pytest.raises(PromptError, match="no prompt 'p'"):
        prompts(write, "").get("p")


def test_a_value_whose_name_is_misspelt_is_told_once(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="flowcore")
    prompts = Prompts(write("x_prompt.yaml", "hello: 'Hello {name}, {json: 1}'"))

    for _ in range(2):
        assert prompts.format("hello", {"nmae": "Bob"}) == "Hello {name}, {json: 1}"

    (record,) = caplog.records
    assert record.getMessage().startswith("prompt 'hello' of ")
    assert record.getMessage().endswith("x_prompt.yaml has no {nmae}; did you mean 'name'?")


def test_a_value_that_a_prompt_does_not_need_is_no_matter(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = Prompts(write("x_prompt.yaml", "hello: Hello {name}"))

    assert prompts.format("hello", {"name": "Bob", "names": "all"}) == "Hello Bob"
    assert caplog.records == []


def test_a_prompt_file_that_is_missing_is_told_with_the_nearest_that_is_there(
    write: Write,
) -> None:
    path = write("say_prompt.yaml", "p: x")

    with pytest.raises(PromptError, match="no such file; did you mean 'say_prompt"):
        Prompts(path.with_name("say_promt.yaml"))
