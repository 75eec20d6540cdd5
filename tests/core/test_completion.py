"""What a shell is offered when Tab is pressed, by the protocol that the scripts speak."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click import shell_completion
from click.testing import CliRunner

from flowcore.cli import main

Write = Callable[[str, str], Path]

CONFIG = """
imports: [must_never_be_imported]
http: {port: 8123}
flow:
  search_flow:
    flow_content: NoSuchOp()
    description: looks it up
    input_schema:
      query: {type: string, description: what to look for}
      mode: {type: string, enum: [fast, slow]}
      deep: {type: boolean}
  sum_flow: {flow_content: NoSuchOp()}
llm:
  big: {backend: openai_compatible, model_name: x, api_key: "${NOT_SET}"}
"""


@pytest.fixture(autouse=True)
def project(write: Write) -> None:
    write("my_config.yaml", CONFIG)
    write("my_other.yml", "flow: {other_flow: {flow_content: NoSuchOp()}}")
    write("conf/deep.yaml", "flow: {deep_flow: {flow_content: NoSuchOp()}}")
    write("search_prompt.yaml", "search: hello")
    write("must_never_be_imported.py", "raise SystemExit('imported')")


def ask(environment: Mapping[str, str]) -> list[str]:
    result = CliRunner().invoke(main, [], prog_name="flowcore", env=environment)
    assert isinstance(result.exception, SystemExit | None)
    assert result.stderr == ""
    assert "must_never_be_imported" not in sys.modules
    return [line for line in result.stdout.splitlines() if line]


def offered(line: str) -> list[str]:
    """Return what bash is offered at the end of a line, with the kind where it is not plain."""
    asked = {"_FLOWCORE_COMPLETE": "bash_complete", "FLOWCORE_LINE": line}
    lines = ask({**asked, "FLOWCORE_BREAKS": ""})
    pairs = [text.split("\t") for text in lines]
    return [value if kind in {"plain", "part"} else f"<{kind}>" for kind, value in pairs]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flowcore ca", ["call"]),
        ("flowcore co", ["completion", "config="]),
        ("flowcore con", ["config="]),
        ("flowcore config=my_", ["config=my_config", "config=my_other"]),
        ("flowcore serve config=my_c", ["config=my_config"]),
        ("flowcore config=my_config,my_o", ["config=my_config,my_other"]),
        ("flowcore config=./my", ["config=./my_config.yaml", "config=./my_other.yml"]),
        ("flowcore config=./c", ["config=./conf/"]),
        ("flowcore config=conf/d", ["config=conf/deep.yaml"]),
        ("flowcore config=lo", ["config=local"]),
        ("flowcore check -", ["--flow", "--mermaid", "--svg", "-h", "--help"]),
        ("flowcore call se", ["search_flow"]),
        ("flowcore call -c conf/deep.yaml ", ["deep_flow"]),
        ("flowcore call -c my_", ["my_config", "my_other"]),
        ("flowcore call -c my_config,my_other o", ["other_flow"]),
        ("flowcore call --config my_", ["my_config", "my_other"]),
        ("flowcore call --config=my_", ["--config=my_config", "--config=my_other"]),
        ("flowcore call search_flow -c my_config ", ["query=", "mode=", "deep="]),
        ("flowcore call search_flow -c my_config query=x ", ["mode=", "deep="]),
        ("flowcore call search_flow config=my_config d", ["deep="]),
        ("flowcore call search_flow config=my_con", ["config=my_config"]),
        ("flowcore call search_flow -c my_config mode=", ["mode=fast", "mode=slow"]),
        ("flowcore call search_flow -c my_config deep=t", ["deep=true"]),
        ("flowcore call search_flow -c my_config query=", []),
        ("flowcore call search_flow -c my_config -s http.metr", ["http.metrics="]),
        ("flowcore chat se", ["search_flow"]),
        ("flowcore chat search_flow -c my_config mode=s", ["mode=slow"]),
        ("flowcore chat config=my_c", ["config=my_config"]),
        ("flowcore check config=my_config --flow su", ["sum_flow"]),
        ("flowcore batch se", ["search_flow"]),
        ("flowcore batch search_flow in", ["<file>"]),
        ("flowcore batch search_flow in.jsonl -o o", ["<file>"]),
        ("flowcore batch search_flow in.jsonl config=my_c", ["config=my_config"]),
        ("flowcore explain invalid_r", ["invalid_row"]),
        ("flowcore completion z", ["zsh"]),
        ("flowcore backe", ["backend="]),
        ("flowcore backend=", ["backend=http"]),
        ("flowcore ht", ["http."]),
        ("flowcore http.por", ["http.port="]),
        ("flowcore http.metrics=", ["http.metrics=true", "http.metrics=false"]),
        ("flowcore http.playground=t", ["http.playground=true"]),
        ("flowcore http.server=", ["http.server=hypercorn", "http.server=uvicorn"]),
        ("flowcore http.cors.allow_c", ["http.cors.allow_credentials="]),
        ("flowcore config=my_config deadlines.t", ["deadlines.total="]),
        ("flowcore config=my_config flow.", ["flow.search_flow.", "flow.sum_flow."]),
        ("flowcore config=my_config flow.sum_flow.st", ["flow.sum_flow.stream="]),
        ("flowcore config=my_config flow.sum_flow.stream=f", ["flow.sum_flow.stream=false"]),
        ("flowcore config=my_config flow.sum_flow.deadlines.i", ["flow.sum_flow.deadlines.idle="]),
        ("flowcore config=my_config llm.", ["llm.big."]),
        ("flowcore config=my_config llm.big.base", ["llm.big.base_url="]),
        ("flowcore llm.b", ["llm.big."]),
        ("flowcore vector_store.", ["vector_store.default."]),
        ("flowcore vector_store.default.b", ["vector_store.default.backend="]),
        ("flowcore vector_store.default.backend=m", ["vector_store.default.backend=memory"]),
        ("flowcore show_errors=", ["show_errors=true", "show_errors=false"]),
        ("flowcore language=", []),
        ("A=1 B='2 3' flowcore ca", ["call"]),
        ("flowcore call 'search_f", ["search_flow"]),
        ("flowcore nothing.at.all.", []),
        ("flowcore nothing.at=", []),
        ("flowcore check config=no_such_config http.por", ["http.port="]),
        ("flowcore call no_such_flow -c my_config ", []),
    ],
)  # fmt: skip
def test_a_line_goes_on_with(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_all_commands_are_offered_in_an_empty_line() -> None:
    words = offered("flowcore ")

    assert {"call", "check", "serve", "config="} <= set(words)


@pytest.mark.parametrize(
    "text",
    [
        "flow: [", "- 1", "\x00", "flow: 5", "flow: {f: 5}", "flow: {f: {input_schema: [1]}}",
        "flow: {f: {input_schema: {a: 5}}}", "a: &a [*a]", "llm: {x: 5}",
        "llm: {x: {backend: [1]}}",
    ],
)  # fmt: skip
def test_a_broken_config_makes_no_noise(write: Write, text: str) -> None:
    write("broken.yaml", text)

    for line in (
        "call ", "call f -c broken ", "call f -c broken a=", "config=broken llm.x.",
        "config=broken llm.x.backend=", "config=broken flow.f.", "config=broken b",
    ):  # fmt: skip
        offered(f"flowcore {line}")
    assert "broken" in [word.rpartition("=")[2] for word in offered("flowcore config=b")]


@pytest.mark.parametrize(
    "line",
    ["", "flowcore", "flowcore 'unended", 'flowcore "a\\', "flowcore \udc80", "flowcore -- ",
     "flowcore -x -y --zzz=", "flowcore call --url", "flowcore ={}=", "flowcore call a b c d=",
     "flowcore --help ", "flowcore --version c", "flowcore new ", "flowcore plugins x"],
)  # fmt: skip
def test_no_line_makes_a_traceback(line: str) -> None:
    offered(line)


@pytest.mark.parametrize("name", ["with space.yaml", "dollar$(touch x).yaml", "quote'.yaml"])
def test_bash_is_offered_no_name_that_it_would_take_for_something_else(
    write: Write, name: str
) -> None:
    write(name, "")

    assert offered("flowcore config=./") == [
        "config=./conf/", "config=./my_config.yaml", "config=./my_other.yml",
        "config=./search_prompt.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("breaks", "line", "expected"),
    [
        ("\"'><=;|&(:", "flowcore config=my_c", ["plain\tmy_config"]),
        ("\"'><=;|&(:", "flowcore call --config=my_c", ["plain\tmy_config"]),
        ("\"'><=;|&(:", "flowcore conf", ["part\tconfig="]),
        ("\"'><;|&(", "flowcore config=my_c", ["plain\tconfig=my_config"]),
    ],
)
def test_bash_is_offered_what_comes_after_the_last_place_where_it_breaks_words(
    breaks: str, line: str, expected: list[str]
) -> None:
    asked = {"_FLOWCORE_COMPLETE": "bash_complete", "FLOWCORE_LINE": line}

    assert ask({**asked, "FLOWCORE_BREAKS": breaks}) == expected


def test_zsh_and_fish_and_powershell_are_offered_whole_words() -> None:
    words: dict[str, Any] = {"COMP_WORDS": "flowcore\ncall\n--config=my_c", "COMP_CWORD": "2"}
    assert ask({**words, "_FLOWCORE_COMPLETE": "zsh_complete"}) == ["plain\t--config=my_config\t"]
    assert ask({**words, "_FLOWCORE_COMPLETE": "powershell_complete"})[1] == "my_config"

    words = {"COMP_WORDS": "flowcore config=my_c", "COMP_CWORD": "config=my_c"}
    assert ask({**words, "_FLOWCORE_COMPLETE": "fish_complete"}) == ["plain,config=my_config"]

    words = {"COMP_WORDS": "flowcore\ncall\ns", "COMP_CWORD": "2"}
    assert ask({**words, "_FLOWCORE_COMPLETE": "zsh_complete"}) == [
        "plain\tsearch_flow\tlooks it up",
        "plain\tsum_flow\t",
    ]


@pytest.mark.parametrize("asked", ["tcsh_complete", "bash_nonsense", "x", "bash_complete"])
def test_what_no_script_asks_is_answered_with_silence(asked: str) -> None:
    assert ask({"_FLOWCORE_COMPLETE": asked}) == []


@pytest.mark.parametrize("shell", ["bash", "fish", "powershell", "zsh"])
def test_a_script_names_the_command_and_what_it_asks_with(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])

    assert (result.exit_code, result.stderr) == (0, "")
    assert "flowcore" in result.stdout
    assert "_FLOWCORE_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout


def test_there_is_no_script_for_other_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2

    monkeypatch.delitem(shell_completion._available_shells, "powershell")
    result = CliRunner().invoke(main, ["completion", "powershell"])

    assert (result.exit_code, "needs click 8.5" in result.stderr) == (1, True)


SHOW_MODULES = """
import os
import subprocess
import sys
from flowcore.cli import main
try:
    main([], prog_name="flowcore")
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [("flowcore call s", "search_flow"), ("flowcore http.por", "http.port=")],
)
def test_completing_loads_no_server_no_client_and_no_model(line: str, expected: str) -> None:
    asked = {"_FLOWCORE_COMPLETE": "bash_complete", "FLOWCORE_LINE": line, "FLOWCORE_BREAKS": ""}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES], env={**os.environ, **asked},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert expected in done.stdout
    loaded = set(done.stderr.split())
    assert "flowcore" in loaded
    assert loaded.isdisjoint(
        {"quart", "hypercorn", "httpx", "openai", "numpy", "xllamacpp", "rich"}
    )
