from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowcore import (
    BaseAsyncOp,
    BaseService,
    C,
    FlowApp,
    FlowcoreError,
    FlowResponse,
    FlowStreamChunk,
    ServiceSettings,
    __version__,
)
from flowcore.cli import main
from flowcore.commands import NAMES

Write = Callable[[str, str], Path]
SCRIPT = Path(sys.executable).with_name("flowcore")

OPS = """
from flowcore import BaseAsyncOp, C, ChunkEnum, FlowStreamChunk

@C.register_op()
class EchoOp(BaseAsyncOp):
    async def async_execute(self):
        for kind in (ChunkEnum.THINK, ChunkEnum.ANSWER, ChunkEnum.ANSWER):
            await self.context.add_stream_chunk(
                FlowStreamChunk(chunk_type=kind, chunk=f"{self.context.query!r} ")
            )

@C.register_op()
class FailOp(BaseAsyncOp):
    async def async_execute(self):
        raise ValueError("on fire")
"""

CONFIG = """
imports: [cli_ops_xyz]
flow:
  echo:
    flow_content: EchoOp()
    stream: true
    description: says it again
    input_schema:
      query: {type: string}
      top_k: {type: integer, required: false}
  fail:
    flow_content: (EchoOp() | EchoOp(name="e")) >> FailOp()
"""


@pytest.fixture(autouse=True)
def project(write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write("cli_ops_xyz.py", OPS)
    write("my.yaml", CONFIG)
    monkeypatch.syspath_prepend(".")
    yield
    sys.modules.pop("cli_ops_xyz", None)


def flowcore(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def refused(*args: str, code: int = 2) -> str:
    result = flowcore(*args)
    assert result.exit_code == code
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.stderr


# --- the script that is installed

EVIL = "__import__('os').system('touch hacked')"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("http: {prot: 8002}", "my.yaml:1: unknown key 'prot' in 'http'; did you mean 'port'?"),
        ("imports: [cli_ops_xyz]\nflow: {f: {flow_content: EcoOp()}}",
         "my.yaml:2:26: flow 'f', line 1, column 1: unknown op 'EcoOp'; did you mean 'EchoOp'?"),
        (f'flow: {{f: {{flow_content: "{EVIL}"}}}}', "flow 'f', line 1, column 1: "),
        ("llm: {default: {backend: openai_compatible, model_name: '${NO_SUCH_NAME}'}}",
         "my.yaml:1: the environment variable NO_SUCH_NAME is not set"),
    ],
)  # fmt: skip
def test_the_installed_script_says_what_is_wrong_in_one_message_without_a_traceback(
    write: Write, tmp_path: Path, config: str, said: str
) -> None:
    write("my.yaml", config)

    done = subprocess.run(
        [SCRIPT, "config=my", "backend=http", "http.port=0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert done.stdout == ""
    assert not (tmp_path / "hacked").exists()


def test_the_installed_script_runs_a_flow() -> None:
    done = subprocess.run(
        [SCRIPT, "call", "echo", "-c", "my", "query=中文"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert done.stdout.decode() == "'中文' '中文' \n"


# --- what is said wrong


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chekc"], "no such command 'chekc'; did you mean 'check'?"),
        (["tea"], "no such command 'tea'; settings are written as key=value"),
        (["my"], "no such command 'my'; did you mean config=my?"),
        (["--port", "80"], "Settings and inputs are written without dashes: port=…"),
        (["serve", "--port=80"], "are written without dashes: port=…"),
        (["check", "-c", "hello"], "are written without dashes: config=…"),
        (["call", "echo", "--query", "a"], "are written without dashes: query=…"),
        (["call", "echo", "--url", "localhost:80"], "write it as http://localhost:80"),
        (["call", "echo", "--url", "me:secret@there"], "write it as http://host:port"),
        (["check", "config=my", "port=80"], "unknown key 'port'; did you mean 'http.port'?"),
        (["call", "tea", "-c", "my"], "unknown flow 'tea'; there are 'echo', 'fail'"),
        (["call", "tea"], "(no config=NAME was given, so that is `default`)"),
        (["check", "my"], "settings are written as key=value, not 'my'"),
        (["config=nope"], "no config 'nope'"),
        (["check", "config=my", "langage=en"], "unknown key 'langage'; did you mean 'language'?"),
        (["check", "config=my", "a..b=1"], "write it as key=value or section.key=value"),
        (["check", "config=my", "flow.echo.flow_content=EchoOP()"], "did you mean 'EchoOp'?"),
        (["check", "config=my", "backend=htp"], "unknown service 'htp'; did you mean 'http'?"),
        (["check", "config=my", f"language={'x' * 300}", "nope=1"], "unknown key 'nope'"),
        (["check", f"config={'x' * 300}"], "no config"),
        (["call", "ecko", "-c", "my"], "unknown flow 'ecko'; did you mean 'echo'?"),
        (["call", "echo", "-c", "my"], "invalid input for flow 'echo': query: "),
        (["call", "echo", "-c", "my", "query"], "written as key=value, not 'query'"),
        (["call", "echo", "-c", "my", "query=a", "top_k=many"], "top_k: "),
        (["call", "echo", "query=a", "llm.default.api_key=k"], "input: -s llm.default.api_key=…"),
        (["call", "echo", "deadlines.total=1"], "deadlines.total is a setting, and no input"),
        (["call", "echo", "-c", "my", "-s", "x"], "settings are written as key=value"),
        (["call", "echo", "-c", "my", "--url", "ftp://x", "query=a"], "URLs that begin with 'ftp'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_with_one_message(args: list[str], said: str) -> None:
    assert said in refused(*args)


def test_a_log_level_may_be_set_and_a_wrong_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "debug")
    assert flowcore("flows", "config=my").exit_code == 0

    monkeypatch.setenv("FLOWCORE_LOG_LEVEL", "loud")
    assert "unknown level 'LOUD'" in refused("flows", "config=my")


def test_a_dotenv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KEY=\xff\xfe")

    assert ".env: cannot be read" in refused("check", "config=my")


# --- commands


def test_the_help_shows_each_command_once_and_tells_of_it_in_a_whole_sentence() -> None:
    lines = flowcore("--help").output.splitlines()

    for name in NAMES:
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert line.endswith(".")
        assert not line.endswith("...")


def test_the_version_and_the_help() -> None:
    assert flowcore("--version").output == f"flowcore {__version__}\n"
    help_text = flowcore("--help").output
    for command in ("serve", "call", "check", "flows", "plugins"):
        assert command in help_text


class RecordingService(BaseService):
    served: list[FlowApp] = []  # noqa: RUF012

    def run(self, app: FlowApp) -> None:
        self.served.append(app)


@pytest.mark.parametrize("args", [[], ["serve"]])
def test_without_a_subcommand_settings_mean_serve(args: list[str]) -> None:
    C.register_service("recording")(RecordingService)
    RecordingService.served = []

    result = flowcore(*args, "config=my", "backend=recording", "thread_pool_max_workers=3")

    assert result.exit_code == 0
    assert [app.config.thread_pool_max_workers for app in RecordingService.served] == [3]
    assert set(RecordingService.served[0].flows) == {"echo", "fail"}


def test_several_configs_are_given_with_commas_and_the_later_wins(write: Write) -> None:
    C.register_service("recording")(RecordingService)
    RecordingService.served = []
    write("more.yaml", "backend: recording\nlanguage: en")
    write("last.yml", "language: zh")

    assert flowcore("config=my,more,last").exit_code == 0
    assert flowcore("config=my,more", "config=last", "language=fr").exit_code == 0

    assert [app.config.language for app in RecordingService.served] == ["zh", "fr"]


def test_check_prints_the_ops_of_each_flow() -> None:
    result = flowcore("check", "config=my")

    assert result.exit_code == 0
    for part in ("echo (stream) says it again", "in sequence", "in parallel", "FailOp", "2 flows"):
        assert part in result.output
    assert "from module 'cli_ops_xyz'" in result.output


def test_flows_are_listed_as_table_and_as_json() -> None:
    assert "says it again" in flowcore("flows", "config=my").output

    rows = json.loads(flowcore("flows", "config=my", "--json").stdout)

    assert [(row["name"], row["stream"]) for row in rows] == [("echo", True), ("fail", False)]
    assert rows[0]["input_schema"]["required"] == ["query"]


def test_plugins_are_listed_with_what_is_wrong(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    install("bad-dist", {"bad": "bad_mod"}, {"bad_mod": "raise ValueError('no licence')"})

    rows = json.loads(flowcore("plugins", "--json").stdout)

    bad = next(row for row in rows if row["name"] == "bad")
    assert (bad["distribution"], bad["version"]) == ("bad-dist", "1.2.3")
    assert bad["error"] == "ValueError: no licence"
    assert bad["hooks"] == []
    assert "no licence" in flowcore("plugins").output


@pytest.mark.parametrize("command", ["doctor", "plugins"])
def test_a_command_that_tells_of_faults_itself_leaves_the_logs_of_its_process_as_they_were(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    flowcore(command)
    logging.getLogger("flowcore").warning("after")

    assert caplog.messages == ["after"]


# --- call


def test_call_prints_the_answer_to_stdout_and_all_else_to_stderr() -> None:
    result = flowcore("call", "echo", "-c", "my", "query=hi")

    assert result.exit_code == 0
    assert result.stdout == "'hi' 'hi' \n"
    assert result.stderr == "'hi' \n"


def test_call_takes_values_as_the_schema_says_and_else_as_text() -> None:
    result = flowcore("call", "echo", "-c", "my", "query=5", "top_k=5", "other=5")

    assert result.exit_code == 0
    assert result.stdout.startswith("'5'")


def test_call_takes_overrides_and_the_config_as_an_argument() -> None:
    result = flowcore(
        "call", "more", "config=my", "-s", "flow.more.flow_content=EchoOp()", "query=a=b"
    )

    assert result.stdout == "'a=b' 'a=b' \n"


def test_call_prints_how_long_each_op_took_to_stderr() -> None:
    result = flowcore("call", "fail", "query=tea", "-c", "my", "--trace")

    assert result.exit_code == 1
    rows = [line.split() for line in result.stderr.splitlines() if "Op " in line and " s " in line]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("0.0.0", "EchoOp", "finished"),
        ("0.0.1", "EchoOp", "finished"),
        ("0.1", "FailOp", "failed"),
    ]
    assert "EchoOp" not in result.stdout
    assert "EchoOp" not in flowcore("call", "fail", "query=tea", "-c", "my").stderr


def test_call_prints_lines_of_json() -> None:
    result = flowcore("call", "echo", "-c", "my", "query=é", "--json")

    chunks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [chunk["chunk_type"] for chunk in chunks] == ["think", "answer", "answer"]
    assert chunks[0]["chunk"] == "'é' "


@pytest.mark.parametrize("as_json", [True, False])
def test_a_flow_that_fails_prints_its_error_and_exits_with_1(as_json: bool) -> None:
    args = ["call", "fail", "-c", "my", "query=a", *(["--json"] if as_json else [])]

    result = flowcore(*args)

    assert result.exit_code == 1
    assert "ValueError: on fire" in (result.stdout if as_json else result.stderr)


def test_what_a_model_writes_cannot_steer_the_terminal(write: Write) -> None:
    source = OPS.replace("{self.context.query!r} ", "\\x1b]0;evil\\x07\\x9b[31m\\u202e")
    write("cli_ops_xyz.py", source)

    result = flowcore("call", "echo", "-c", "my", "query=a")

    assert result.exit_code == 0
    for character in "\x1b\x07\x9b\u202e":
        assert character not in result.output


def test_a_description_cannot_steer_the_terminal(
    write: Write, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    evil = "\x1b[2J\x07\x9b[31m\u202e"
    write(
        "evil.yaml", CONFIG.replace("says it again", '"evil \\e[2J\\a\\x9b[31m\\u202e [bold]x[/]"')
    )
    install("bad-dist", {"bad": "bad_mod"}, {"bad_mod": f"raise ValueError({evil!r})"})

    for args in (["flows", "config=evil"], ["check", "config=evil"], ["plugins"]):
        result = flowcore(*args)

        assert result.exit_code == 0
        assert "\ufffd[2J" in result.output
        for character in evil.replace("[2J", "").replace("[31m", ""):
            assert character not in result.output
        assert args == ["plugins"] or "[bold]x[/]" in result.output


if sys.platform != "win32":

    def test_an_interrupt_does_not_wait_for_the_thread_of_a_sync_op(write: Write) -> None:
        block = """
import sys, time
from flowcore import BaseOp, C

@C.register_op()
class BlockOp(BaseOp):
    def execute(self):
        print("blocked", file=sys.stderr, flush=True)
        time.sleep(60)
"""
        write("cli_ops_xyz.py", OPS + block)
        command = [SCRIPT, "call", "b", "-c", "my", "-s", "flow.b.flow_content=BlockOp()"]

        # Programs in the background of a shell script ignore SIGINT, and so do their children.
        listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen,  # noqa: PLW1509 - it takes no lock
        ) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline() == "blocked\n"
                process.send_signal(signal.SIGINT)
                assert process.wait(10) == 130
                assert "Traceback" not in process.stderr.read()
            finally:
                process.kill()


def test_a_flow_that_answers_nothing_says_so(write: Write) -> None:
    write("cli_ops_xyz.py", OPS.replace('raise ValueError("on fire")', "pass"))
    write("my.yaml", "imports: [cli_ops_xyz]\nflow: {f: {flow_content: FailOp()}}")

    result = flowcore("call", "f", "-c", "my")
    as_json = flowcore("call", "f", "-c", "my", "--json")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "the flow ended without an answer\n"
    assert as_json.stderr == ""


def test_who_has_no_flows_is_told_where_they_belong(write: Write) -> None:
    write("empty.yaml", "")

    result = flowcore("check", "config=empty")

    assert result.exit_code == 0
    assert "warning: there are no flows; name them under `flow:`" in result.stdout


# --- call --url


class RefusedError(FlowcoreError):
    """What a client of a service raises that tells of problems, as that of HTTP does."""

    code = "http_error"
    problem: Mapping[str, str] = {"code": "invalid_input"}


class FakeClient:
    """A server of the scheme `fake`, as far as `flowcore call --url` talks to one."""

    calls: list[dict[str, Any]] = []  # noqa: RUF012

    async def list_endpoints(self) -> dict[str, Any]:
        def post(media_type: str) -> dict[str, Any]:
            schema = {"properties": {"n": {"type": "integer"}}}
            return {
                "requestBody": {"content": {"application/json": {"schema": schema}}},
                "responses": {"200": {"content": {media_type: {}}}},
            }

        return {
            "paths": {
                "/plain": {"post": post("application/json")},
                "/stream": {"post": post("text/event-stream")},
                "/health": {"get": {}},
            }
        }

    async def execute_flow(self, flow: str, /, **inputs: Any) -> FlowResponse:
        self.calls.append(inputs)
        if inputs.get("n") == 13:
            raise RefusedError("422: n: no luck")
        return FlowResponse(answer="plain answer")

    async def execute_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> AsyncIterator[Mapping[str, Any]]:
        self.calls.append(inputs)
        yield {"type": "answer", "content": "streamed", "metadata": {}}
        if inputs.get("fail"):
            yield {"type": "error", "content": "remote fire"}


class FakeService(RecordingService):
    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, api_key: str | None = None) -> AsyncGenerator[Any]:
        assert url == "fake://there:1"
        yield FakeClient()


@pytest.fixture
def fake_server() -> None:
    C.register_service("fake")(FakeService)
    FakeClient.calls.clear()


@pytest.mark.usefixtures("fake_server")
def test_call_runs_a_flow_on_a_server_of_any_service_that_is_installed() -> None:
    plain = flowcore("call", "plain", "--url", "fake://there:1", "n=5", "q=5")
    stream = flowcore("call", "stream", "--url", "fake://there:1")
    failed = flowcore("call", "stream", "--url", "fake://there:1", "fail=1")

    assert (plain.exit_code, plain.stdout) == (0, "plain answer\n")
    assert (stream.exit_code, stream.stdout) == (0, "streamed\n")
    assert (failed.exit_code, "remote fire" in failed.stderr) == (1, True)
    assert FakeClient.calls[0] == {"n": 5, "q": "5"}


@pytest.mark.usefixtures("fake_server")
def test_inputs_that_the_server_refuses_have_the_exit_code_of_those_that_are_refused_here() -> None:
    message = refused("call", "plain", "--url", "fake://there:1", "n=13", code=2)

    assert message == "Error: 422: n: no luck\nMore: flowcore explain invalid_input\n"


@pytest.mark.usefixtures("fake_server")
def test_a_flow_that_the_server_does_not_have_is_refused() -> None:
    message = refused("call", "palin", "--url", "fake://there:1")

    assert "unknown flow 'palin'; did you mean 'plain'?" in message


@pytest.mark.parametrize(
    "document",
    [
        {"a": 1},
        {"paths": 5},
        {"paths": [1]},
        {"paths": {"/t": 5}},
        {"paths": {"/t": {"post": {}}}},
        {"paths": {"/t": {"post": {"responses": {"200": 5}}}}},
        {"paths": {"/t": {"post": {"responses": {"200": {"content": {}}}, "requestBody": 5}}}},
    ],
    ids=str,
)
def test_a_server_that_describes_no_flows_is_told_in_one_line(document: Any) -> None:
    class OtherClient(FakeClient):
        async def list_endpoints(self) -> dict[str, Any]:
            return document

    class OtherService(RecordingService):
        @classmethod
        @asynccontextmanager
        async def connect(cls, url: str, api_key: str | None = None) -> AsyncGenerator[Any]:
            yield OtherClient()

    C.register_service("other")(OtherService)

    message = refused("call", "t", "--url", "other://there:1", code=1)

    assert message.startswith("Error: ")
    assert "does not describe flows" in message
    assert len(message.splitlines()) == 1


def test_a_chunk_of_an_unknown_type_is_told_in_one_line() -> None:
    class NewerClient(FakeClient):
        async def execute_stream_flow(
            self, flow: str, /, **inputs: Any
        ) -> AsyncIterator[Mapping[str, Any]]:
            yield {"type": "answer", "content": "streamed", "metadata": {}}
            yield {"type": "image", "content": "…", "metadata": {}}

    class NewerService(RecordingService):
        @classmethod
        @asynccontextmanager
        async def connect(cls, url: str, api_key: str | None = None) -> AsyncGenerator[Any]:
            yield NewerClient()

    C.register_service("newer")(NewerService)

    message = refused("call", "stream", "--url", "newer://there:1", code=1)

    assert "a chunk of the unknown type 'image'; it may be newer" in message


def told(op: str, state: str, at: float) -> Mapping[str, Any]:
    content = {"op": op, "name": "SayOp", "state": state, "at": at}
    return {"type": "op", "content": content, "metadata": {}}


class TracingFakeClient(FakeClient):
    """A client that may ask for a trace; what it is told is in `events`."""

    events: Sequence[Mapping[str, Any]] = ()

    async def trace_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> AsyncIterator[Mapping[str, Any]]:
        for event in self.events:
            yield event
        async for chunk in self.execute_stream_flow(flow, **inputs):
            yield chunk


class TracingFakeService(RecordingService):
    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, api_key: str | None = None) -> AsyncGenerator[Any]:
        yield TracingFakeClient()


@pytest.fixture
def tracing_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    C.register_service("traced")(TracingFakeService)
    return lambda *events: monkeypatch.setattr(TracingFakeClient, "events", events)


def test_call_prints_how_long_the_ops_of_a_server_took(tracing_server: Callable[..., None]) -> None:
    tracing_server(told("0", "started", 0.5), told("0", "finished", 0.75))
    args = ["call", "stream", "--url", "traced://there:1"]

    result = flowcore(*args, "--trace")

    assert (result.exit_code, result.stdout) == (0, "streamed\n")
    assert result.stderr.splitlines()[1].split() == [
        *["0", "SayOp", "0.500", "s", "0.250", "s", "finished"]
    ]
    assert flowcore(*args).stderr == ""


def test_a_server_that_tells_nothing_of_its_ops_is_told_of(
    tracing_server: Callable[..., None],
) -> None:
    tracing_server()

    result = flowcore("call", "stream", "--url", "traced://there:1", "--trace")

    assert (result.exit_code, result.stdout) == (0, "streamed\n")
    assert result.stderr.startswith("the server told nothing of its ops: it is of another version")


def test_an_event_of_an_op_that_is_none_is_told_in_one_line(
    tracing_server: Callable[..., None],
) -> None:
    tracing_server(told("0", "paused", 0.5))

    message = refused("call", "stream", "--url", "traced://there:1", "--trace", code=1)

    assert "an event of an op that is none: Input should be 'started', 'finished'" in message
    assert "it may be newer" in message


@pytest.mark.usefixtures("fake_server", "tracing_server")
def test_what_cannot_be_traced_on_a_server_is_not_run_there() -> None:
    plain = refused("call", "plain", "--url", "traced://there:1", "--trace")
    without = refused("call", "stream", "--url", "fake://there:1", "--trace")

    assert "flow 'plain' of the server is not streamed" in plain
    assert "FakeClient cannot ask for a trace; leave out --trace" in without
    assert FakeClient.calls == []


def test_a_service_without_a_client_says_so() -> None:
    C.register_service("mute")(RecordingService)

    assert "RecordingService has no client" in refused("call", "f", "--url", "mute://x")


def test_a_service_owns_the_settings_of_its_section() -> None:
    class PortSettings(ServiceSettings):
        port: int = 1

    class PortService(RecordingService):
        Settings = PortSettings

    C.register_service("porter")(PortService)

    service = FlowApp({"backend": "porter"}, "porter.port=7").service()
    assert isinstance(service.settings, PortSettings)
    assert service.settings.port == 7
    C.register_op()(NothingOp)
    assert "unknown key 'prt' in 'porter'; did you mean 'port'?" in refused(
        "check", "config=my", "porter.prt=1"
    )


class NothingOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="x"))
