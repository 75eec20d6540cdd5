"""The plugin of pytest that comes with flowcore.

Each run of pytest imports it wherever flowcore is installed: all else is imported by the fixtures.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from flowcore.testing.cassette import Cassette
    from flowcore.testing.fixtures import (
        CassetteFixture,
        Cassettes,
        FlowAppFixture,
        RunOpFixture,
        ScriptedLLMFixture,
    )
    from flowcore.testing.running import AppUnderTest

_CASSETTES: pytest.StashKey[Cassettes] = pytest.StashKey()
_RECORDERS: pytest.StashKey[dict[Path, Cassette]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--record``."""
    group = parser.getgroup("flowcore", "flowcore: recorded answers of models")
    try:
        group.addoption(
            "--record",
            dest="flowcore_record",
            choices=("once", "none", "all"),
            default=None,
            help="What the fixture `cassette` does: record where there is no cassette, never "
            "record, or record all anew. By default FLOWCORE_RECORD, else none where CI is set, "
            "else once.",
        )
    except (ValueError, ArgumentError):
        # Another plugin has an option of this name. That must not end their run.
        return


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a cassette did not have beside a failure that does not say so itself."""
    report = yield
    if report.when == "call" and report.failed and (cassettes := item.stash.get(_CASSETTES, None)):
        told = report.longreprtext
        for miss in cassettes.misses():
            if miss.partition("\n")[0] not in told:
                report.sections.append(("cassette", miss))
    return report


@pytest.fixture
def run_op() -> RunOpFixture:
    """Run an op in a test that is a plain function: ``run_op(MyOp(), query="…").text``."""
    from flowcore.testing.fixtures import run_op_here  # noqa: PLC0415

    return run_op_here


@pytest.fixture
def flow_app() -> Iterator[FlowAppFixture]:
    """Open an app that is closed when the test ends: ``flow_app("my.yaml").collect("flow")``."""
    from flowcore.testing.fixtures import open_app  # noqa: PLC0415

    with ExitStack() as stack:

        def opened(config: Any = None, *overrides: str, **options: Any) -> AppUnderTest:
            return stack.enter_context(open_app(config, *overrides, **options))

        yield opened


@pytest.fixture
def scripted_llm() -> ScriptedLLMFixture:
    """Make a model that answers from a script: ``MyOp(llm=scripted_llm(["Hello"]))``."""
    from flowcore.testing.scripted import scripted_llm  # noqa: PLC0415

    return scripted_llm


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[CassetteFixture]:
    """Make a model that is recorded once and replayed: ``MyOp(llm=cassette({"backend": …}))``."""
    from flowcore.testing.cassette import default_mode  # noqa: PLC0415
    from flowcore.testing.fixtures import Cassettes, cassette_name  # noqa: PLC0415

    mode: Any = request.config.getoption("flowcore_record", default=None)
    folder = request.path.parent / "cassettes"
    recorders = request.config.stash.setdefault(_RECORDERS, {})
    name = cassette_name(request.node.nodeid)
    cassettes = Cassettes(folder, name, mode or default_mode(), recorders)
    request.node.stash[_CASSETTES] = cassettes
    failed = request.session.testsfailed
    yield cassettes.make
    # A test that failed shows it already; one that passed may have an op that got over it.
    if request.session.testsfailed == failed and (complaints := cassettes.complaints()):
        pytest.fail("\n".join(complaints), pytrace=False)
