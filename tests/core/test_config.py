from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowcore import BaseAsyncOp, C, ConfigError, FlowApp, load_config

Write = Callable[[str, str], Path]


def refused(*sources: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(*sources)
    return str(caught.value)


# --- layers


def test_each_layer_beats_the_one_below_it(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, environment, `.env`, later YAML, earlier YAML, defaults."""
    assert load_config({}).thread_pool_max_workers == 128

    write("one.yaml", "thread_pool_max_workers: 1")
    assert load_config("one").thread_pool_max_workers == 1

    write("two.yaml", "thread_pool_max_workers: 2")
    assert load_config("one", "two").thread_pool_max_workers == 2
    assert load_config("two", "one").thread_pool_max_workers == 1

    write(".env", "FLOWCORE_THREAD_POOL_MAX_WORKERS=3")
    assert load_config("one", "two").thread_pool_max_workers == 3

    monkeypatch.setenv("FLOWCORE_THREAD_POOL_MAX_WORKERS", "4")
    assert load_config("one", "two").thread_pool_max_workers == 4

    assert load_config("one", "thread_pool_max_workers=5", "two").thread_pool_max_workers == 5


def test_sections_are_merged_key_by_key_and_lists_are_replaced(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        "a.yaml",
        "llm: {default: {backend: x, model_name: a, params: {t: 1, n: 1}}}\nimports: [a]\n",
    )
    write("b.yaml", "llm: {default: {params: {t: 2}}, fast: {backend: y}}\nimports: [b]")
    monkeypatch.setenv("FLOWCORE_LLM__DEFAULT__PARAMS__N", "3")

    config = load_config("a", "b", "llm.default.model_name=c")

    assert config.llm == {
        "default": {"backend": "x", "model_name": "c", "params": {"t": 2, "n": 3}},
        "fast": {"backend": "y"},
    }
    assert config.imports == ["b"]


def test_a_mapping_stands_for_a_file(write: Write) -> None:
    write("a.yaml", "backend: from_file\nlanguage: en")

    assert load_config("a", {"backend": "from_mapping"}).backend == "from_mapping"
    assert load_config({"backend": "from_mapping"}, "a").backend == "from_file"


def test_a_real_variable_beats_dotenv_for_backends_and_in_yaml(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".env", "FLOW_LLM_API_KEY=dotenv\nFLOW_ONLY=dotenv\nNAME=dotenv")
    monkeypatch.setenv("FLOW_LLM_API_KEY", "real")
    monkeypatch.setenv("NAME", "real")
    write("a.yaml", "language: ${NAME}")

    config = load_config("a")

    assert config.environment["FLOW_LLM_API_KEY"] == "real"
    assert config.environment["FLOW_ONLY"] == "dotenv"
    assert config.language == "real"


def test_two_loads_do_not_share_state() -> None:
    load_config({"llm": {"default": {"backend": "x"}}}, "llm.default.model_name=a")

    assert load_config({}).llm == {}


def test_the_given_mapping_is_not_changed() -> None:
    given = {"llm": {"default": {"backend": "x"}}}

    load_config(given, "llm.default.model_name=a", "llm.fast.backend=y")

    assert given == {"llm": {"default": {"backend": "x"}}}


# --- the guide's file


def test_the_guides_file_is_understood(write: Write) -> None:
    write(
        "my_stream_config.yaml",
        """
backend: http
thread_pool_max_workers: 128
http:
  host: "0.0.0.0"
  port: 8002
flow:
  demo_stream_http_flow:
    flow_content: GenSystemPromptOp() >> StreamChatOp()
    stream: true
    description: "chat"
    input_schema:
      query: {type: string, description: "question", required: true}
llm:
  default: {backend: openai_compatible, model_name: m, params: {temperature: 0.6}}
embedding_model:
  default: {backend: openai_compatible, model_name: e, params: {dimensions: 1024}}
vector_store:
  default: {backend: memory, embedding_model: default}
""",
    )

    config = load_config("my_stream_config", "backend=http", "llm.default.model_name=qwen3-max")

    assert config.backend == "http"
    assert config.sections == {"http": {"host": "0.0.0.0", "port": 8002}}
    flow = config.flow["demo_stream_http_flow"]
    assert flow.flow_content == "GenSystemPromptOp() >> StreamChatOp()"
    assert flow.stream is True
    assert flow.input_schema["query"].required is True
    assert config.llm["default"]["model_name"] == "qwen3-max"


@pytest.mark.parametrize("name", ["default", "local"])
def test_the_packaged_configs_load(name: str) -> None:
    assert set(load_config(name).flow) == {"demo_http_flow", "demo_stream_http_flow"}


def test_without_any_source_the_default_is_loaded() -> None:
    assert load_config().model_dump() == load_config("default").model_dump()
    assert load_config("language=en").flow == load_config("default").flow


# --- what is wrong: where, what, and what was meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backend: http\nflow:\n  f:\n    flow_contents: AOp()\n",
         "my.yaml:4: unknown key 'flow_contents' in 'flow.f'; did you mean 'flow_content'?"),
        ("flow:\n  f: {flow_content: AOp(), stream: maybe}\n", "my.yaml:2: 'flow.f.stream'"),
        ("flow:\n  f: AOp()\n", "my.yaml:2: 'flow.f'"),
        ("thread_pool_max_workers: 0\n", "my.yaml:1: 'thread_pool_max_workers'"),
        ("thread_pool_max_workers: many\n", "my.yaml:1: 'thread_pool_max_workers'"),
        ("stream_buffer_chunks: 0\n", "my.yaml:1: 'stream_buffer_chunks'"),
        ("imports: my_ops\n", "my.yaml:1: 'imports'"),
        ("config: other\n", "my.yaml:1: a config file cannot name another one"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_key(write: Write, text: str, said: str) -> None:
    write("my.yaml", text)

    assert said in refused("my.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imports: my_ops", "'imports': a list is needed, such as `[my_ops]`"),
        ("language: [en]", "'language': a text is needed"),
        ("max_concurrent_runs: many", "a whole number is needed, such as `10000`"),
        ("max_concurrent_runs: 1.5", "a whole number is needed, such as `10000`"),
        ("deadlines: {cleanup: soon}", "'deadlines.cleanup': a number is needed, such as `5.0`"),
        ("show_errors: perhaps", "'show_errors': true or false is needed, such as `true`"),
        ("flow: {f: AOp()}", "'flow.f' must be a mapping, such as `flow_content: MyOp()`"),
        ("flow: {f: {stream: true}}", "is required, such as `flow_content: MyOp()`"),
        ("flow: {f: {flow_content: AOp(), input_schema: {q: str}}}",
         "'flow.f.input_schema.q' must be a mapping, such as `type: string`"),
        ("flow: [f]", "'flow' must be a mapping"),
    ],
)  # fmt: skip
def test_an_error_about_a_type_says_what_is_needed_with_an_example(
    write: Write, text: str, said: str
) -> None:
    write("my.yaml", text)

    assert said in refused("my.yaml")


def test_all_faults_are_listed_each_with_its_place(write: Write) -> None:
    write("a.yaml", "thread_pool_max_workers: 0\nlanguage: en\n")

    message = refused("a.yaml", "imports=5", {"flow": {"f": {"stream": True}}})

    assert "a.yaml:1: 'thread_pool_max_workers'" in message
    assert "argument imports=…: 'imports'" in message
    assert "'flow.f.flow_content' is required" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thread_pool_max_workers: true", "my.yaml:1: 'thread_pool_max_workers': a number"),
        ("deadlines:\n  idle: yes", "my.yaml:2: 'deadlines.idle': a number is needed"),
        ("flow: {f: {deadlines: {total: off}}}", "'flow.f.deadlines.total': a number"),
        ("flow: {f: {on_disconnect: {grace: true}}}", "'flow.f.on_disconnect.grace': a number"),
    ],
)
def test_a_truth_value_is_no_number(write: Write, text: str, said: str) -> None:
    write("my.yaml", text)

    assert said in refused("my.yaml")


def test_values_are_not_repeated_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCORE_THREAD_POOL_MAX_WORKERS", "sk-secret")

    message = refused({})

    assert "environment variable FLOWCORE_THREAD_POOL_MAX_WORKERS" in message
    assert "sk-secret" not in message


# --- sections of services and backends, checked by the app


def test_a_truth_value_is_no_number_in_a_section_either(write: Write) -> None:
    write("my.yaml", "http:\n  port: true\n  metrics: true\n  cors: {max_age: true}")

    with pytest.raises(ConfigError, match=r"my\.yaml:2: 'http\.port': a number is needed"):
        FlowApp("my.yaml")


class NothingOp(BaseAsyncOp):
    async def async_execute(self) -> None: ...


@pytest.mark.parametrize(
    ("text", "key", "instead"),
    [
        ("http: {timeout_keep_alive: 3600}", "'timeout_keep_alive' in 'http'",
         "write `http.keep_alive_timeout`"),
        ("http: {limit_concurrency: 1000}", "'limit_concurrency' in 'http'",
         "write `http.max_connections`"),
        ("enable_logo: false", "'enable_logo'", "delete it"),
        ("init_logger: true", "'init_logger'", "delete it"),
        ("enabled_flows: [a]", "'enabled_flows'", "delete it"),
        ("disabled_flows: [a]", "'disabled_flows'", "delete it"),
        ("metadata: {a: 1}", "'metadata'", "write parameters of ops"),
        ("ray_max_workers: 2", "'ray_max_workers'", "delete it; `http.workers`"),
        ("mcp: {port: 1}", "'mcp'", "delete it"),
        ("external_mcp: {}", "'external_mcp'", "delete it"),
        ("cmd: {flow: a}", "'cmd'", "delete it; the command `flowcore call"),
        ("flow: {f: {flow_content: NothingOp(), enable_cache: true}}",
         "'enable_cache' in 'flow.f'", "delete it"),
        ("flow: {f: {flow_content: NothingOp(), cache_path: x}}",
         "'cache_path' in 'flow.f'", "delete it"),
        ("flow: {f: {flow_content: NothingOp(), cache_expire_hours: 1}}",
         "'cache_expire_hours' in 'flow.f'", "delete it"),
        ("llm: {a: {backend: openai_compatible, model_name: m, token_count: {}}}",
         "'token_count' in 'llm.a'", "delete it; the `usage` chunk"),
    ],
)  # fmt: skip
def test_who_has_a_key_of_flowllm_is_told_what_takes_its_place(
    write: Write, text: str, key: str, instead: str
) -> None:
    write("my.yaml", f"language: en\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        FlowApp("my.yaml")
    said = f"my.yaml:2: unknown key {key}, which is FlowLLM's: {instead}"
    assert str(caught.value).startswith(said)


def test_keys_that_are_called_as_flowllms_elsewhere_get_no_such_hint(write: Write) -> None:
    write("my.yaml", "enable_cache: true\nhttp: {metadata: 1}\n")
    with pytest.raises(ConfigError) as caught:
        FlowApp("my.yaml")
    assert "unknown key 'enable_cache'" in str(caught.value)
    assert "FlowLLM" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("htpp: {port: 1}\n", "my.yaml:1: unknown key 'htpp'; did you mean 'http'?"),
        ("thread_pool_max_worker: 1\n", "did you mean 'thread_pool_max_workers'?"),
        ("zzzzz: 1\n", "my.yaml:1: unknown key 'zzzzz'"),
        ("http:\n  prot: 8002\n", "my.yaml:2: unknown key 'prot' in 'http'; did you mean 'port'?"),
        ("http: {port: high}\n", "my.yaml:1: 'http.port'"),
        ("llm:\n  default:\n    model_name: m\n", "my.yaml:2: llm.default needs a `backend`"),
        ("llm:\n  default:\n    backend: openai_compatibel\n",
         "my.yaml:3: unknown LLM backend 'openai_compatibel'; did you mean 'openai_compatible'?"),
        ("llm:\n  default:\n    backend: openai_compatible\n    model_nam: m\n",
         "my.yaml:4: unknown key 'model_nam' in 'llm.default'; did you mean 'model_name'?"),
        ("embedding_model: {e: {backend: memory}}\n", "unknown embedding model backend 'memory'"),
        ("vector_store:\n  default: {backend: memory, embedding_model: nope}\n",
         "my.yaml:2: unknown embedding_model 'nope'"),
        ("flow:\n  f:\n    flow_content: NothinOp()\n",
         "my.yaml:3:19: flow 'f', line 1, column 1: unknown op 'NothinOp'; did you mean 'Nothing"),
        ("flow:\n  f:\n    flow_content: NothingOp(llm='fast')\n",
         "my.yaml:3: flow 'f', op 'nothing_op': unknown llm 'fast'"),
        ("flow:\n  'a b':\n    flow_content: NothingOp()\n", "my.yaml:3: flow name 'a b'"),
        ("imports: [no_such_module]\n", "my.yaml:1: cannot import 'no_such_module'"),
    ],
)  # fmt: skip
def test_what_only_the_app_can_know_is_refused_with_file_and_line(
    write: Write, text: str, said: str
) -> None:
    C.register_op()(NothingOp)
    write("my.yaml", text)

    with pytest.raises(ConfigError) as caught:
        FlowApp("my.yaml")

    assert said in str(caught.value)


def test_an_unknown_service_is_refused_when_it_is_asked_for(write: Write) -> None:
    write("my.yaml", "language: en\nbackend: htp\n")

    with pytest.raises(ConfigError, match=r"my\.yaml:2: unknown service 'htp'; did you mean"):
        FlowApp("my.yaml").service()


def test_an_unknown_backend_that_flowcore_has_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"the extra flowcore\[http\]"):
        FlowApp({"llm": {"default": {"backend": "http"}}})


def test_empty_sections_are_no_sections(write: Write) -> None:
    write("my.yaml", "flow:\nllm:\nimports:\nhttp:\n")

    app = FlowApp("my.yaml")

    assert app.flows == {}


def test_the_repr_of_a_configuration_holds_no_secret() -> None:
    entry = {"backend": "any", "api_key": "sk-canary"}
    config = load_config(
        {
            "language": "zh",
            "llm": {"default": entry},
            "embedding_model": {"default": entry},
            "vector_store": {"default": entry},
            "http": {"api_keys": {"ann": "sk-canary"}},
        }
    )

    assert "language='zh'" in repr(config)
    assert "sk-canary" not in repr(config) + str(config)


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    C.register_op()(NothingOp)
    path = write(
        "my.yaml",
        "flow:\n"
        "  a:\n    flow_content: NothinOp()\n"
        "  b:\n    flow_content: NothingOp(llm='fast')\n"
        "  c:\n    flow_content: NothingOp() >>\n"
        "  d:\n    flow_content: NothingOp()\n"
        "llm:\n  x: {backend: nothing}\n  y: {backend: scripted, replys: []}\n"
        "vector_store:\n  z: {}\n"
        "nope: {}\n",
    )

    with pytest.raises(ConfigError) as caught:
        FlowApp(path)

    heads = [line for line in str(caught.value).splitlines() if not line.startswith("    ")]
    places = [head.removeprefix(f"{path}:").split(" ")[0] for head in heads]
    assert places == ["15:", "11:", "12:", "14:", "3:19:", "7:33:", "5:"]
    assert caught.value.origin == f"{path}:15"
    assert caught.value.code == "config_error"


def test_a_misspelt_backend_key_is_recognized() -> None:
    with pytest.raises(ConfigError, match="needs a `backend`; is 'backnd' meant"):
        FlowApp({"llm": {"default": {"backnd": "scripted"}}})


def test_several_faults_of_one_kind_keep_their_code(write: Write) -> None:
    content = "flow: {a: {flow_content: NoOp()}, b: {flow_content: NoOp() >>}}\n"

    with pytest.raises(ConfigError) as caught:
        FlowApp(write("my.yaml", content))

    assert caught.value.code == "expression_error"
