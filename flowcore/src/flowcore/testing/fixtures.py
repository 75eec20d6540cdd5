"""What the fixtures of the pytest plugin are, for annotations, and how they do it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio

from flowcore.app import ConfigSource
from flowcore.config import FlowConfig
from flowcore.flow import Flow
from flowcore.llm import BaseLLM
from flowcore.op import Op
from flowcore.testing.cassette import Cassette, Mode
from flowcore.testing.cassette_backends import CassetteLLM, cassette_llm
from flowcore.testing.faults import Fault
from flowcore.testing.running import AppUnderTest, RunResult, run_op
from flowcore.testing.scripted import Piece, ScriptedLLM


class RunOpFixture(Protocol):
    """The fixture ``run_op``: blocking twin of :func:`flowcore.testing.run_op`."""

    def __call__(
        self, op: Op, config: Mapping[str, Any] | None = None, /, **inputs: Any
    ) -> RunResult:
        """Run one op, or ops joined by operators, in an app of its own."""
        ...


class FlowAppFixture(Protocol):
    """The fixture ``flow_app``: opens apps, and closes them when the test ends."""

    def __call__(
        self,
        config: FlowConfig | ConfigSource | None = None,
        *overrides: str,
        plugins: Iterable[object] = (),
        flows: Mapping[str, Op | Flow] | None = None,
    ) -> AppUnderTest:
        """Open an app; the arguments are those of :class:`flowcore.FlowApp`."""
        ...


class ScriptedLLMFixture(Protocol):
    """The fixture ``scripted_llm``: :func:`flowcore.testing.scripted_llm`."""

    def __call__(self, *replies: Sequence[Piece], faults: Sequence[Fault] = ()) -> ScriptedLLM:
        """Return an LLM that answers from a script."""
        ...


class CassetteFixture(Protocol):
    """The fixture ``cassette``: makes LLMs whose cassette stands beside the test."""

    def __call__(
        self,
        wraps: BaseLLM | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        mode: Mode | None = None,
        speed: float = 0,
        ignore: Sequence[str] = (),
        faults: Sequence[Fault] = (),
        unused: Literal["ignore", "fail"] = "ignore",
    ) -> CassetteLLM:
        """Return an LLM that replays, or records, what a real one streams.

        Args:
            wraps: The real model: its config entry, which is read only to record, or an LLM.
            name: Name of the cassette in the folder ``cassettes`` beside the test, without
                ``.yaml``; by default ``MODULE/TEST``. LLMs of one name share a cassette, also those
                of several tests, as long as these run in one process while they are recorded.
            mode: ``once``, ``none`` or ``all``; by default what ``--record`` says.
            speed: At which multiple of the recorded pace to replay; 0 is as fast as possible.
            ignore: Regular expressions for what may differ in texts, such as a date.
            faults: What goes wrong with the replies.
            unused: Whether the test fails where it did not ask for all that is recorded.
        """
        ...


def run_op_here(op: Op, config: Mapping[str, Any] | None = None, /, **inputs: Any) -> RunResult:
    """Run an op in an event loop of its own.

    Raises:
        RuntimeError: If one is running already.
        Exception: Whatever the op raised, as it was raised.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(partial(run_op, op, config, **inputs))
    raise RuntimeError(
        "the fixture run_op is for tests that are plain functions; in an async test write "
        "`from flowcore.testing import run_op` and `await run_op(…)`"
    )


def open_app(
    config: FlowConfig | ConfigSource | None = None,
    *overrides: str,
    plugins: Iterable[object] = (),
    flows: Mapping[str, Op | Flow] | None = None,
) -> AppUnderTest:
    """Return an app that is not open yet; without a configuration it has an empty one."""
    return AppUnderTest({} if config is None else config, *overrides, plugins=plugins, flows=flows)


class Cassettes:
    """The cassettes of one test.

    Args:
        folder: Where they are.
        name: Name of the one that a test has by default.
        mode: What ``--record`` says.
        recorders: The cassettes that earlier tests have recorded; a test of the same name goes on
            with one, and does not begin it anew.
    """

    def __init__(
        self, folder: Path, name: str, mode: Mode, recorders: dict[Path, Cassette]
    ) -> None:
        self._folder = folder
        self._name = name
        self._mode: Mode = mode
        self._recorders = recorders
        self._open: dict[str, Cassette] = {}
        self._strict: list[Cassette] = []

    def make(
        self,
        wraps: BaseLLM | Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        mode: Mode | None = None,
        speed: float = 0,
        ignore: Sequence[str] = (),
        faults: Sequence[Fault] = (),
        unused: Literal["ignore", "fail"] = "ignore",
    ) -> CassetteLLM:
        """See :class:`CassetteFixture`."""
        name = self._name if name is None else name
        path = self._folder / f"{name}.yaml"
        if name not in self._open:
            known = self._recorders.get(path)
            self._open[name] = known or Cassette(path, mode or self._mode, ignore=ignore)
            if self._open[name].is_recording:
                self._recorders[path] = self._open[name]
        if unused == "fail":
            self._strict.append(self._open[name])
        return cassette_llm(path, wraps, speed=speed, faults=faults, cassette=self._open[name])

    def misses(self) -> list[str]:
        """Return what was asked that is not recorded."""
        return [miss for cassette in self._open.values() for miss in cassette.misses]

    def complaints(self) -> list[str]:
        """Return what was asked that is not recorded, and recorded where that must not be."""
        unused = [
            f"{cassette.path}: {len(cassette.unused)} of {len(cassette.recordings)} recordings "
            "were not asked for; to record anew: pytest --record=all"
            for cassette in {id(cassette): cassette for cassette in self._strict}.values()
            if cassette.unused
        ]
        return [*self.misses(), *unused]


def cassette_name(test_id: str) -> str:
    """Return the name of a test's cassette, ``MODULE/TEST``, from its id in pytest."""
    file, _, test = test_id.partition("::")
    safe = re.sub(r"[^\w.\-\[\]]+", "_", test.replace("::", "."))
    if len(safe) > 100 or safe != test.replace("::", "."):
        safe = f"{safe[:90]}-{sha256(test.encode()).hexdigest()[:8]}"
    return f"{Path(file).stem}/{safe}"
