"""Each test runs a pytest of its own, as an author of ops does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowcore.testing.cassette_file import read
from flowcore.testing.fixtures import cassette_name

pytest_plugins = ["pytester"]

OP = """
from flowcore import BaseAsyncOp, Message

class AskOp(BaseAsyncOp):
    question: str = "What is it?"

    async def async_execute(self):
        async for chunk in self.llm.astream_chat([Message(content=self.question)]):
            await self.context.add_stream_chunk(chunk)

class CarefulOp(AskOp):
    async def async_default_execute(self, error):
        self.context.response.answer = "sorry"
"""
SHOUT = """
from flowcore import BaseLLM, FlowStreamChunk, hookimpl

class ShoutLLM(BaseLLM):
    async def astream_chat(self, messages, tools=None, **params):
        yield FlowStreamChunk(chunk=messages[-1].content.upper())
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with ops, a model, and warnings that are errors."""
    pytester.makepyfile(ops=OP, shout=SHOUT)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    monkeypatch.delenv("CI", raising=False)
    # A module that is changed within a second, and not in size, is taken for its old bytecode.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return pytester


def outcomes(project: pytest.Pytester, *args: str) -> dict[str, int]:
    result = project.runpytest_subprocess("-p", "no:randomly", *args, timeout=120)
    return result.parseoutcomes()


def recorded(project: pytest.Pytester) -> list[str]:
    return sorted(
        path.relative_to(project.path).as_posix() for path in project.path.rglob("*.yaml")
    )


CASSETTE_TEST = """
from flowcore import ModelSettings
from ops import AskOp
from shout import ShoutLLM

def test_it(cassette, run_op):
    llm = cassette(ShoutLLM(ModelSettings(model_name="loud")))
    assert run_op(AskOp(llm=llm)).text == "WHAT IS IT?"
"""


def test_ops_and_apps_are_tested_in_plain_functions(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from flowcore import BackendError, RunState
        from flowcore.testing import Cut
        from ops import AskOp, CarefulOp

        def test_an_op(run_op, scripted_llm):
            assert run_op(AskOp(llm=scripted_llm(["a", "b"]))).text == "ab"

        def test_a_failure(run_op, scripted_llm):
            with pytest.raises(BackendError):
                run_op(AskOp(llm=scripted_llm(faults=[Cut()])))

        def test_an_app(flow_app, scripted_llm):
            llm = scripted_llm(["a"], faults=[Cut(calls=(2,))])
            app = flow_app(flows={"ask": AskOp(llm=llm), "careful": CarefulOp(llm=llm)})
            assert app.collect("ask").text == "a"
            assert app.execute("careful").answer == "sorry"
            result = app.collect("ask")
            assert result.state is RunState.DONE

        def test_a_config(flow_app):
            config = {"imports": ["flowcore.testing"], "llm": {"default": {"backend": "scripted"}}}
            app = flow_app(config, "llm.default.replies=[[x]]", flows={"ask": AskOp()})
            assert app.collect("ask").text == "x"
        """
    )

    assert outcomes(project) == {"passed": 4}


@pytest.mark.parametrize("mode", ["auto", "marked"])
def test_async_tests_import_the_functions(project: pytest.Pytester, mode: str) -> None:
    project.makepyfile(
        f"""
        import pytest
        from flowcore.testing import run_op
        from ops import AskOp

        pytestmark = {"pytest.mark.anyio" if mode == "marked" else "[]"}

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_an_op(scripted_llm):
            assert (await run_op(AskOp(llm=scripted_llm(["a"])))).text == "a"

        async def test_the_fixture_says_what_to_do(request):
            with pytest.raises(RuntimeError, match="await run_op"):
                request.getfixturevalue("run_op")(AskOp())
        """
    )

    extra = ["-o", "anyio_mode=auto"] if mode == "auto" else []
    assert outcomes(project, *extra) == {"passed": 2}


def test_a_cassette_is_recorded_once_beside_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(test_ask=CASSETTE_TEST)

    assert outcomes(project) == {"passed": 1}
    assert recorded(project) == ["cassettes/test_ask/test_it.yaml"]
    project.makepyfile(shout=SHOUT.replace(".upper()", ".lower()"))

    assert outcomes(project) == {"passed": 1}  # the model would answer otherwise now
    assert outcomes(project, "--record", "none") == {"passed": 1}
    assert outcomes(project, "--record=all") == {"failed": 1}


def test_in_ci_nothing_is_recorded(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_ask=CASSETTE_TEST)
    monkeypatch.setenv("CI", "true")

    result = project.runpytest_subprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*there is no cassette*to record it: pytest --record=once*"])
    assert recorded(project) == []
    monkeypatch.setenv("FLOWCORE_RECORD", "once")
    assert outcomes(project) == {"passed": 1}


def test_a_changed_op_is_found_even_where_it_gets_over_it(project: pytest.Pytester) -> None:
    test = CASSETTE_TEST.replace("AskOp", "CarefulOp").replace("    assert run_op", "    run_op")
    project.makepyfile(test_ask=test.replace('.text == "WHAT IS IT?"', ""))
    assert outcomes(project) == {"passed": 1}
    project.makepyfile(ops=OP.replace("What is it?", "What is that?"))

    result = project.runpytest_subprocess()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["-  content: What is it?", "+  content: What is that?"])


def test_a_changed_op_that_fails_is_told_once(project: pytest.Pytester) -> None:
    project.makepyfile(test_ask=CASSETTE_TEST)
    assert outcomes(project) == {"passed": 1}
    project.makepyfile(ops=OP.replace("What is it?", "What is that?"))

    assert outcomes(project) == {"failed": 1}


def test_a_failure_for_another_reason_shows_what_the_cassette_did_not_have(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(test_ask=CASSETTE_TEST.replace("AskOp", "CarefulOp"))
    assert outcomes(project) == {"passed": 1}
    project.makepyfile(ops=OP.replace("What is it?", "What is that?"))

    result = project.runpytest_subprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*AssertionError*", "*- cassette -*", "+  content: What is that?"]
    )


def test_recordings_that_nobody_asks_for_are_told_on_demand(project: pytest.Pytester) -> None:
    test = """
    from flowcore import ModelSettings
    from ops import AskOp
    from shout import ShoutLLM

    def test_it(cassette, run_op):
        llm = cassette(ShoutLLM(ModelSettings(model_name="loud")), unused={unused!r})
        for question in {questions!r}:
            run_op(AskOp(llm=llm, question=question))
    """
    project.makepyfile(test_ask=test.format(unused="fail", questions=["a", "b"]))
    assert outcomes(project) == {"passed": 1}

    project.makepyfile(test_ask=test.format(unused="ignore", questions=["a"]))
    assert outcomes(project) == {"passed": 1}
    project.makepyfile(test_ask=test.format(unused="fail", questions=["a"]))
    result = project.runpytest_subprocess()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*1 of 2 recordings were not asked for*"])


def test_each_test_has_a_cassette_of_its_own_under_xdist_too(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_ask="""
        import pytest
        from flowcore import ModelSettings
        from ops import AskOp
        from shout import ShoutLLM

        @pytest.mark.parametrize("question", ["a", "b", "c/d"])
        def test_it(cassette, run_op, question):
            llm = cassette(ShoutLLM(ModelSettings(model_name="loud")))
            assert run_op(AskOp(llm=llm, question=question)).text == question.upper()

        class TestOthers:
            def test_named(self, cassette, run_op):
                for model in ("one", "two"):
                    llm = cassette(ShoutLLM(ModelSettings(model_name=model)), name="shared")
                    run_op(AskOp(llm=llm))
        """
    )

    assert outcomes(project, "-n", "2") == {"passed": 4}
    assert recorded(project)[0] == "cassettes/shared.yaml"
    assert len(recorded(project)) == 4
    shared = read(project.path / "cassettes/shared.yaml")
    assert [r.request["model"] for r in shared] == ["one", "two"]
    assert outcomes(project, "-n", "2", "--record=none") == {"passed": 4}


def test_tests_may_share_a_cassette(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_ask="""
        import pytest
        from flowcore import ModelSettings
        from ops import AskOp
        from shout import ShoutLLM

        @pytest.mark.parametrize("question", ["a", "b", "a"])
        def test_it(cassette, run_op, question):
            llm = cassette(ShoutLLM(ModelSettings(model_name="loud")), name="all")
            assert run_op(AskOp(llm=llm, question=question)).text == question.upper()
        """
    )

    for mode in ("once", "none", "all", "once"):
        assert outcomes(project, f"--record={mode}") == {"passed": 3}
    asked = [r.request["messages"][0]["content"] for r in read(project.path / "cassettes/all.yaml")]
    assert asked == ["a", "b", "a"]


def test_a_run_that_uses_nothing_of_it_pays_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_it():
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert "flowcore" in loaded
            assert loaded.isdisjoint({"pydantic", "yaml", "rich", "click", "openai"})
            assert not [n for n in sys.modules if n.startswith("flowcore.") and n not in {
                "flowcore.hookspecs", "flowcore.testing", "flowcore.testing.pytest_plugin"}]
        """
    )

    # The plugins of other packages load pydantic by themselves.
    others = ["-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:xdist"]
    assert outcomes(project, *others) == {"passed": 1}


def test_it_can_be_switched_off(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(run_op): ...")

    result = project.runpytest_subprocess("-p", "no:flowcore")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'run_op' not found*"])


def test_an_option_of_the_same_name_is_no_obstacle(project: pytest.Pytester) -> None:
    project.makepyfile(
        other="def pytest_addoption(parser):\n    parser.addoption('--record', dest='theirs')\n"
    )
    project.makepyfile(test_ask=CASSETTE_TEST)
    project.makeconftest("")

    assert outcomes(project, "-p", "other", "--record=x") == {"passed": 1}


def test_fixtures_of_a_project_win(project: pytest.Pytester) -> None:
    project.makeconftest("import pytest\n\n@pytest.fixture\ndef run_op():\n    return 5\n")
    project.makepyfile("def test_it(run_op):\n    assert run_op == 5")

    assert outcomes(project) == {"passed": 1}


def test_the_fixtures_are_listed_with_what_they_are_for(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--fixtures")

    result.stdout.fnmatch_lines(["*run_op -- *", "*Run an op in a test that is a plain function*"])


@pytest.mark.parametrize(
    ("test_id", "name"),
    [
        ("tests/test_a.py::test_it", "test_a/test_it"),
        ("test_a.py::TestX::test_it[1-b]", "test_a/TestX.test_it[1-b]"),
        ("test_a.py::test_größe", "test_a/test_größe"),
    ],
)
def test_a_cassette_is_named_like_its_test(test_id: str, name: str) -> None:
    assert cassette_name(test_id) == name


def test_names_that_no_file_can_have_are_made_ones_that_it_can() -> None:
    names = {cassette_name(f"test_a.py::test[{text}]") for text in ("a/b", "a:b", "x" * 300)}

    assert len(names) == 3
    for name in names:
        assert len(name) < 130
        assert not set(name.removeprefix("test_a/")) & set('/\\:*?"<>|')


def test_the_plugin_is_typed() -> None:
    assert (Path(sys.modules["flowcore"].__file__ or "").parent / "py.typed").is_file()


def test_a_program_that_has_imported_flowcore_may_run_pytest(project: pytest.Pytester) -> None:
    # pytest asks for each package of an installed plugin to be imported by nobody before it.
    installed = project.mkdir("flowcore_from_a_wheel-1.dist-info")
    (installed / "METADATA").write_text("Name: flowcore-from-a-wheel\nVersion: 1\n", "utf-8")
    (installed / "entry_points.txt").write_text("[pytest11]\nshout = shout\n", "utf-8")
    (installed / "RECORD").write_text("flowcore/__init__.py,,\n", "utf-8")
    project.makepyfile(test_it="def test_it(): pass")
    program = project.makepyfile(
        program="import sys, flowcore, pytest\n"
        "sys.exit(pytest.main(['-W', 'error::pytest.PytestAssertRewriteWarning']))"
    )

    assert project.runpython(program).parseoutcomes() == {"passed": 1}
