from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from flowcore import Finding, FlowConfig
from flowcore.doctor import Diagnosis, examine

Write = Callable[[str, str], Path]
Install = Callable[[str, Mapping[str, str], Mapping[str, str]], None]
CANARY = "canary-5e1f7"


def found(diagnosis: Diagnosis, name: str) -> Finding:
    findings = [finding for finding in diagnosis.findings if finding.name == name]
    assert len(findings) == 1, [finding.name for finding in diagnosis.findings]
    return findings[0]


def test_what_is_in_order_is_ready(write: Write):
    write("c.yaml", "flow: {chat: {flow_content: StreamChatOp(), stream: true}}")
    diagnosis = examine(["c"], ["http.port=0"])

    assert diagnosis.is_ready
    assert diagnosis.problems == []
    assert found(diagnosis, "flows").text == "chat"
    assert found(diagnosis, "config=c").text == "c.yaml"


def test_the_sources_of_a_configuration_are_told_without_values(
    write: Write, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLOWCORE_HTTP__PORT", "8123")
    write(".env", f"FLOW_LLM_API_KEY={CANARY}\nOTHER=1\n")
    write("a.yaml", "language: zh")
    write("b.yaml", "language: en")
    diagnosis = examine(["a", "b"], ["http.host=127.0.0.1"])
    told = [f for f in diagnosis.findings if f.section == "configuration"]

    assert [finding.name for finding in told][:5] == [
        "arguments",
        "environment",
        ".env",
        "config=b",
        "config=a",
    ]
    assert [finding.text for finding in told][:3] == [
        "http.host",
        "FLOWCORE_HTTP__PORT",
        "FLOW_LLM_API_KEY",
    ]


def test_each_fault_is_told_and_the_rest_is_looked_at(write: Write):
    write(
        "c.yaml",
        "imports: []\n"
        "http: {prot: 1}\n"
        "flow:\n"
        "  good: {flow_content: ChatOp()}\n"
        "  bad: {flow_content: NopeOp()}\n"
        "  worse: {flow_content: 'ChatOp() >>'}\n"
        "llm:\n"
        "  default: {backend: openai_compatible, model_name: x, api_key: k12345}\n"
        "  odd: {backend: openai_compatible, modle_name: x}\n",
    )
    diagnosis = examine(["c"])

    assert {finding.name for finding in diagnosis.problems} == {
        "http",
        "flow.bad",
        "flow.worse",
        "llm.odd",
    }
    assert found(diagnosis, "flows").text == "good"
    assert found(diagnosis, "llm.default").level == "ok"


def test_an_unknown_section_is_told_as_such_and_the_rest_is_looked_at(write: Write):
    write(
        "c.yaml",
        "nope: 1\n"
        "flow: {good: {flow_content: ChatOp()}}\n"
        "llm: {default: {backend: openai_compatible, model_name: x, api_key: k12345}}\n",
    )
    diagnosis = examine(["c"], ["http.port=0"])

    assert [(finding.name, finding.text) for finding in diagnosis.problems] == [
        ("nope", "c.yaml:1: unknown key 'nope'")
    ]
    assert found(diagnosis, "flows").text == "good"
    assert found(diagnosis, "llm.default").level == "ok"


def test_a_fault_of_an_entry_is_told_once_and_not_again_of_what_uses_it(write: Write):
    write(
        "c.yaml",
        "flow:\n"
        "  good: {flow_content: ChatOp()}\n"
        "  first: {flow_content: 'ChatOp(llm=\"big\")'}\n"
        '  second: {flow_content: \'ChatOp(llm="big", vector_store="main")\'}\n'
        '  bad: {flow_content: \'ChatOp(llm="big") >> ChatOp(llm="nope")\'}\n'
        "llm:\n"
        "  default: {backend: openai_compatible, modle_name: x}\n"
        "  big: {backend: nope}\n"
        "embedding_model: {default: {backend: openai_compatible, modle_name: x}}\n"
        "vector_store: {main: {backend: memory}}\n",
    )
    diagnosis = examine(["c"], ["http.port=0"])

    told = [finding.name for finding in diagnosis.problems]
    assert told == ["embedding_model.default", "llm.default", "llm.big", "flow.bad"]
    assert "'nope'" in found(diagnosis, "flow.bad").text
    assert "'big'" not in found(diagnosis, "flow.bad").text
    assert found(diagnosis, "flows").text == "good"
    assert {
        finding.name: finding.text
        for finding in diagnosis.findings
        if finding.level == "info" and "left out" in finding.text
    } == {
        "vector_store.main": "left out, for it needs embedding_model.default",
        "flow.first": "left out, for it needs llm.big",
        "flow.second": "left out, for it needs llm.big, vector_store.main",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("llm: {default: {api_key: canary-5e1f7: x", "not valid YAML"),
        ("passwords:\n- canary-5e1f7: }", "not valid YAML"),
        ("password: *canary-5e1f7", "undefined alias ***"),
        ("password: !canary-5e1f7", "the YAML tag *** is not supported"),
        ("imports: [nowhere_xyz]", "cannot import 'nowhere_xyz'"),
        ("backend: ftp", "ftp"),
    ],
)
def test_a_configuration_that_cannot_be_loaded_is_a_problem_and_no_end(
    write: Write, text: str, told: str
):
    write("c.yaml", text)
    diagnosis = examine(["c"])

    assert told in str(diagnosis.problems)
    assert CANARY not in str(diagnosis.as_data())
    assert found(diagnosis, "terminal")
    assert found(diagnosis, "flowcore").level == "ok"


def test_no_key_is_told_wherever_it_was_given(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOW_EMBEDDING_API_KEY", f"{CANARY}-environment")
    write(".env", f"FLOW_LLM_API_KEY={CANARY}-dotenv\n")
    write(
        "c.yaml",
        "flow: {chat: {flow_content: ChatOp()}}\n"
        f"http: {{port: 0, api_keys: {{bob: {CANARY}-0123456789}}}}\n"
        "llm:\n"
        "  default: {backend: openai_compatible, model_name: x}\n"
        f"  other: {{backend: openai_compatible, model_name: x, api_key: {CANARY}-file,\n"
        f"          base_url: 'http://me:{CANARY}@127.0.0.1:9/v1'}}\n"
        "embedding_model: {default: {backend: openai_compatible, model_name: x}}\n",
    )
    diagnosis = examine(["c"], [f"llm.third.api_key={CANARY}-argument"])
    other = examine(["c"])

    assert CANARY not in json.dumps([diagnosis.as_data(), other.as_data()])
    assert found(other, "llm.default.api_key").origin == "FLOW_LLM_API_KEY"
    assert found(other, "llm.other.api_key").origin.startswith("c.yaml:")
    assert found(other, "http.api_keys").text == "1 present"


def test_a_plugin_that_cannot_be_loaded_is_a_problem_with_its_reason(install: Install):
    install("broken-plugin", {"broken": "broken_xyz"}, {"broken_xyz": "1 / 0"})
    diagnosis = examine([], ["http.port=0"])

    assert "ZeroDivisionError" in found(diagnosis, "broken").text
    assert not diagnosis.is_ready


def test_plugins_add_findings_of_their_own(install: Install):
    source = (
        "from flowcore import Finding, hookimpl\n"
        "@hookimpl\n"
        "def flowcore_diagnose(config, online):\n"
        "    yield Finding('weather', 'sky', f'blue, {online}', 'warning', 'look up')\n"
    )
    install("sky-plugin", {"sky": "sky_xyz"}, {"sky_xyz": source})
    diagnosis = examine([], ["http.port=0"], online=False)

    told = [f.text for f in diagnosis.findings if f.section == "weather"]
    assert told == ["blue, False"]


def test_a_plugin_whose_diagnosis_fails_is_told(install: Install):
    source = (
        "from flowcore import hookimpl\n"
        "@hookimpl\n"
        "def flowcore_diagnose(config):\n"
        "    raise ValueError('on fire')\n"
    )
    install("sky-plugin", {"sky": "sky_xyz"}, {"sky_xyz": source})

    assert "its diagnosis failed: ValueError: on fire" in str(examine([], ["http.port=0"]).warnings)


def test_limits_are_told_with_where_they_come_from(write: Write):
    write("c.yaml", "deadlines: {idle: 7}\nflow: {a: {flow_content: ChatOp()}}\n")
    diagnosis = examine(["c"], ["deadlines.total=9"])

    told = {f.name: (f.text, f.origin) for f in diagnosis.findings if f.section == "limits"}
    assert told["deadlines.idle"] == ("7 s", "c.yaml:1")
    assert told["deadlines.total"] == ("9 s", "argument deadlines.total=…")
    assert told["deadlines.first_chunk"] == ("300 s", "default")
    numbers = {name for name, field in FlowConfig.model_fields.items() if field.annotation is int}
    assert numbers <= told.keys()


def test_no_flows_are_a_warning(write: Write):
    write("c.yaml", "language: en")
    diagnosis = examine(["c"], ["http.port=0"])

    assert found(diagnosis, "flows").level == "warning"
    assert diagnosis.is_ready
