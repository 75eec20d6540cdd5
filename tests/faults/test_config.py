"""Configurations that are wrong or hostile: the command ends with one message and no traceback."""

from __future__ import annotations

import socket
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from tests.faults.client import SECONDS
from tests.faults.server import CANARY, COMMAND, environment

POINTER = "More: flowcore explain config_error"
OPS = """
from flowcore import BaseAsyncOp, C

@C.register_op()
class PlainOp(BaseAsyncOp):
    size: int = 1

    async def async_execute(self):
        self.context.response.answer = "plain"
"""


def refusal(folder: Path, config: str, *settings: str, **variables: str) -> tuple[int, str]:
    """Start the service with a configuration that it must refuse; return code and output."""
    (folder / "plain_op.py").write_text(OPS, encoding="utf-8")
    (folder / "bad.yaml").write_text(textwrap.dedent(config), encoding="utf-8")
    began = time.monotonic()
    result = subprocess.run(
        [COMMAND, "config=bad.yaml", *settings],
        check=False,
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=4 * SECONDS,
    )
    output = (result.stdout + result.stderr).decode()
    assert time.monotonic() - began < 2 * SECONDS
    assert output.startswith("Error: ")
    assert "\nError: " not in output
    assert "Traceback" not in output
    assert CANARY not in output
    return result.returncode, output


def flow(expression: str) -> str:
    lines = textwrap.indent(expression, "      ")
    return f"imports: [plain_op]\nflow:\n  one:\n    flow_content: |\n{lines}\n"


# --- keys and values ---


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("flw: {}", "bad.yaml:1: unknown key 'flw'; did you mean 'flow'?"),
        ("http:\n  prot: 1", "bad.yaml:2: unknown key 'prot' in 'http'; did you mean 'port'?"),
        ("http: {port: 99999}", "bad.yaml:1: 'http.port'"),
        ("http: {port: true}", "bad.yaml:1: 'http.port'"),
        ("http: {heartbeat: true}", "bad.yaml:1: 'http.heartbeat'"),
        ("thread_pool_max_workers: true", "bad.yaml:1: 'thread_pool_max_workers'"),
        (
            "llm: {default: {backend: openai_compatible, model_name: m, max_retries: true}}",
            "retries",
        ),
        ("deadlines: {total: -1}", "bad.yaml:1: 'deadlines.total'"),
        ("http: {heartbeat: .nan}", "bad.yaml:1: 'http.heartbeat'"),
        ("a: 1\na: 2", "bad.yaml:2"),
        ("a: [", "bad.yaml:1:5: not valid YAML"),
        ("a: !!python/object/apply:os.system ['id']", "bad.yaml:1"),
        ("config: other.yaml", "bad.yaml:1: a config file cannot name another one"),
        ("imports: [no_such_module]", "cannot import 'no_such_module'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_was_probably_meant(
    tmp_path: Path, config: str, said: str
):
    code, output = refusal(tmp_path, config)
    assert code == 2
    assert said in output


def test_a_variable_that_is_not_set_is_named(tmp_path: Path):
    code, output = refusal(tmp_path, "http:\n  host: ${FAULTS_NO_SUCH}")
    assert code == 2
    assert "bad.yaml:2: the environment variable FAULTS_NO_SUCH is not set" in output


@pytest.mark.parametrize(
    "config",
    [
        "http: {port: '${FAULTS_KEY}'}",
        "http: {api_keys: {me: [x, '${FAULTS_KEY}']}}",
        "llm: {a: {backend: openai_compatible, model_name: m, api_key: '${FAULTS_KEY}\u00e9'}}",
        "llm: {default: {backend: openai_compatible, model_name: m, base_url: '${FAULTS_KEY}'}}",
        "thread_pool_max_workers: ${FAULTS_KEY}",
    ],
)
def test_the_value_of_a_variable_is_not_printed(tmp_path: Path, config: str):
    code, _ = refusal(tmp_path, config)
    assert code == 2


def test_a_bomb_of_aliases_is_refused(tmp_path: Path):
    levels = "\n".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(9))
    code, output = refusal(tmp_path, f"a0: &a0 [1]\n{levels}")
    assert code == 2
    assert "bad.yaml" in output


@pytest.mark.parametrize("name", ["health", "metrics", "runs"])
def test_a_flow_named_like_an_endpoint_is_refused(tmp_path: Path, name: str):
    config = f"imports: [plain_op]\nflow:\n  {name}: {{flow_content: PlainOp()}}"
    code, output = refusal(tmp_path, config)
    assert code == 2
    assert f"bad.yaml:3: flow {name!r} cannot be served" in output


# --- expressions ---


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('id')",
        "().__class__.__mro__[1].__subclasses__()",
        "PlainOp(size=f'{open}')",
        "PlainOp(size=(i for i in (1,)).gi_frame)",
        "PlainOp(size=9**9**9)",
        "import os",
        "P\uff4clainOp()",
    ],
)
def test_an_expression_can_only_name_and_join_ops(tmp_path: Path, expression: str):
    code, output = refusal(tmp_path, flow(expression))
    assert code == 2
    assert "flow 'one', line 1" in output


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 10_000 + "PlainOp()" + ")" * 10_000,
        " >> ".join(["PlainOp()"] * 100_000),
        "PlainOp(size=" + "[" * 5000 + "]" * 5000 + ")",
    ],
    ids=["deep", "long", "deep list"],
)
def test_an_expression_without_measure_is_refused_at_once(tmp_path: Path, expression: str):
    code, output = refusal(tmp_path, flow(expression))
    assert code == 2
    assert "bad.yaml" in output
    assert len(output) < 5000


def test_an_op_that_holds_itself_is_refused(tmp_path: Path):
    code, output = refusal(tmp_path, flow("a = PlainOp()\na << {'self': a}\na"))
    assert code == 2
    assert "bad.yaml" in output


@pytest.mark.parametrize(
    "path",
    ["../../../../../../etc/passwd", "/etc/shadow", "/dev/zero", "x\\0y", "/", "missing.yaml"],
)
def test_a_prompt_path_that_is_no_prompt_file_is_refused(tmp_path: Path, path: str):
    code, output = refusal(tmp_path, flow(f'PlainOp(prompt_path="{path}")'))
    assert code == 2
    assert "root:" not in output


# --- the address ---


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        code, output = refusal(tmp_path, "{}", f"http.port={sock.getsockname()[1]}")
    assert code == 2
    assert "cannot listen at 127.0.0.1" in output
    assert output.splitlines()[1:] == [POINTER]


def test_a_host_that_is_not_here_is_told_in_one_line(tmp_path: Path):
    code, output = refusal(tmp_path, "{}", "http.host=no-such-host.invalid")
    assert code == 2
    assert "http.host: 'no-such-host.invalid'" in output
    assert output.splitlines()[1:] == [POINTER]
