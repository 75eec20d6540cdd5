"""Who answers: a flow of this process, or of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flowcore.app import FlowApp
from flowcore.calling import Printer, run_there
from flowcore.errors import ConfigError, UnknownNameError
from flowcore.service import FlowClient

QUESTION = "query"
"""The input that the question becomes."""

HISTORY = ("messages", "history")
"""The inputs that may take what was said before; the first where the flow names none."""


class FlowFace(NamedTuple):
    """What a flow shows to callers: whether it streams, and the JSON Schema of its inputs."""

    streams: bool
    schema: Mapping[str, Any]

    @property
    def inputs(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of each input; empty where the flow takes any."""
        return self.schema.get("properties", {})

    @property
    def takes_question(self) -> bool:
        """Whether there is a place for a question."""
        return not self.inputs or QUESTION in self.inputs

    @property
    def history(self) -> str:
        """Name of the input for what was said before."""
        return next((name for name in HISTORY if name in self.inputs), HISTORY[0])

    @property
    def wanted(self) -> list[str]:
        """The inputs that a question and what was said before do not fill."""
        own = (QUESTION, *HISTORY)
        return [name for name in self.schema.get("required", ()) if name not in own]


class Partner(Protocol):
    """Runs flows.

    Attributes:
        flows: What there is, by name.
    """

    flows: Mapping[str, FlowFace]

    async def answer(self, flow: str, inputs: Mapping[str, Any], printer: Printer) -> None:
        """Run a flow and hand over its chunks, the error chunk of a failure among them.

        Raises:
            FlowcoreError: If the run cannot be started, or its stream breaks off.
        """
        ...


class AppPartner:
    """Runs the flows of an open app."""

    def __init__(self, app: FlowApp) -> None:
        self._app = app
        self.flows: Mapping[str, FlowFace] = {
            name: FlowFace(flow.stream, flow.input_schema) for name, flow in app.flows.items()
        }

    async def answer(self, flow: str, inputs: Mapping[str, Any], printer: Printer) -> None:
        """Run a flow here."""
        async with self._app.stream(flow, **inputs) as chunks:
            while batch := await chunks.run.receive():
                for chunk in batch:
                    printer.chunk(chunk)
            await chunks.run.wait()


class ServerPartner:
    """Runs the flows of a server.

    Args:
        client: Connected to the server.
        flows: What the server says of its flows.
    """

    def __init__(
        self, client: FlowClient, flows: Mapping[str, tuple[bool, Mapping[str, Any]]]
    ) -> None:
        self._client = client
        self.flows: Mapping[str, FlowFace] = {name: FlowFace(*flow) for name, flow in flows.items()}

    async def answer(self, flow: str, inputs: Mapping[str, Any], printer: Printer) -> None:
        """Run a flow there."""
        streams = self.flows[flow].streams
        await run_there(self._client, flow, inputs, printer, streams=streams)


def choose_flow(flows: Mapping[str, FlowFace], name: str | None) -> str:
    """Return the flow to talk to: the one that is named, else the first that streams.

    Raises:
        UnknownNameError: If there is none of this name.
        ConfigError: If it does not take a question, or none does.
    """
    if name is None:
        fitting = [name for name, flow in flows.items() if flow.streams and flow.takes_question]
        if not fitting:
            there = ", ".join(flows) or "none"
            raise ConfigError(
                f"no flow streams and takes a {QUESTION!r}; name the flow to talk to ({there})"
            )
        return fitting[0]
    if name not in flows:
        raise UnknownNameError("flow", name, flows)
    if not flows[name].takes_question:
        inputs = ", ".join(flows[name].inputs)
        raise ConfigError(
            f"flow {name!r} takes no {QUESTION!r}, only {inputs}; use `flowcore call {name}`"
        )
    return name
