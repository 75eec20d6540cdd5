"""Running one flow for the terminal: in this process, or on a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import yaml
from pydantic import TypeAdapter, ValidationError

from flowcore.app import FlowApp
from flowcore.errors import ConfigError, FlowcoreError, UnknownNameError
from flowcore.interruption import run_until_interrupt
from flowcore.schema import ChunkEnum, FlowStreamChunk
from flowcore.service import FlowClient, TracingClient
from flowcore.trace import OpEvent
from flowcore.yaml_text import parse_yaml


class Printer(Protocol):
    """Where the chunks of a run go."""

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Print one chunk."""
        ...


def call_here(
    app: FlowApp,
    flow: str,
    inputs: Mapping[str, str],
    printer: Printer,
    trace: Callable[[OpEvent], object] | None = None,
) -> bool:
    """Run a flow in this process; return whether it came to a good end.

    Args:
        app: The app.
        flow: Name of the flow.
        inputs: Its inputs, as texts.
        printer: Where its chunks go.
        trace: What is to be told when an op starts or ends.

    Raises:
        UnknownNameError: If there is no such flow.
        InputError: If the inputs do not fit.
    """

    async def call() -> bool:
        if flow not in app.flows:
            raise UnknownNameError("flow", flow, app.flows)
        values = parse_inputs(inputs, app.flows[flow].input_schema)
        streamed = app.stream if trace is None else app.trace
        async with app, streamed(flow, **values) as items:
            run = items.run
            receive = run.receive if run.trace is None else run.trace.receive
            while batch := await receive():
                for item in batch:
                    if not isinstance(item, OpEvent):
                        printer.chunk(item)
                    elif trace is not None:
                        trace(item)
            await run.wait()
            return run.error is None

    return run_until_interrupt(call)


def call_server(
    app: FlowApp,
    url: str,
    flow: str,
    inputs: Mapping[str, str],
    printer: Printer,
    trace: Callable[[OpEvent], object] | None = None,
) -> bool:
    """Run a flow on the server at ``url``; return whether it came to a good end.

    The key of a server that asks for one is taken from ``FLOWCORE_API_KEY``.

    Args:
        app: Knows the services.
        url: Address of the server.
        flow: Name of the flow.
        inputs: Its inputs, as texts.
        printer: Where its chunks go.
        trace: What is to be told when an op starts or ends.

    Raises:
        ConfigError: If no installed service understands the URL, or there is no trace of the flow.
        UnknownNameError: If the server has no such flow.
        FlowcoreError: If the server cannot be reached or refuses.
    """

    async def run() -> bool:
        async with connected(app, url) as client:
            streams, schema = await described_flow(client, flow)
            values = parse_inputs(inputs, schema)
            if trace is None:
                return await run_there(client, flow, values, printer, streams=streams)
            tracing = _tracing(client, flow, streams=streams)
            return await _print_stream(tracing.trace_stream_flow(flow, **values), printer, trace)

    return run_until_interrupt(run)


@asynccontextmanager
async def connected(app: FlowApp, url: str) -> AsyncGenerator[FlowClient]:
    """Have a client for the server at ``url``.

    The key of a server that asks for one is taken from ``FLOWCORE_API_KEY``.

    Raises:
        ConfigError: If no installed service understands the URL.
    """
    scheme = url.partition(":")[0].lower().removesuffix("s")
    service = app.catalog.services.get(scheme)
    if service is None:
        # What stands before an @ may be a password.
        address = "host:port" if "@" in url or "://" in url else url
        hint = app.plugins.hint(scheme) or f"write it as http://{address}"
        raise ConfigError(
            f"no installed service understands URLs that begin with {scheme[:20]!r}; {hint}"
        )
    # Not an option: what a command is given, all users of the machine can read.
    key = app.config.environment.get("FLOWCORE_API_KEY") or None
    try:
        # A service whose servers ask for no key need not take one.
        async with service.connect(url, key) if key else service.connect(url) as client:
            yield client
    except FlowcoreError as error:
        if key is None and getattr(error, "status", None) == 401:
            error.args = (f"{error}; the variable FLOWCORE_API_KEY may hold the key",)
        raise


async def described_flow(client: FlowClient, flow: str) -> tuple[bool, Mapping[str, Any]]:
    """Return whether a flow of a server streams, and the JSON Schema of its inputs.

    Raises:
        UnknownNameError: If the server has no such flow.
        FlowcoreError: If the server cannot be reached or refuses.
    """
    flows = described_flows(await client.list_endpoints())
    if flow not in flows:
        raise UnknownNameError("flow", flow, flows)
    return flows[flow]


def _tracing(client: FlowClient, flow: str, *, streams: bool) -> TracingClient:
    if not streams:
        raise ConfigError(
            f"flow {flow!r} of the server is not streamed, and a server tells only with a stream "
            "what ops do; leave out --trace"
        )
    if not isinstance(client, TracingClient):
        raise ConfigError(f"{type(client).__name__} cannot ask for a trace; leave out --trace")
    return client


async def run_there(
    client: FlowClient, flow: str, inputs: Mapping[str, Any], printer: Printer, *, streams: bool
) -> bool:
    """Run a flow of a server and print what comes; return whether it came to a good end.

    Raises:
        FlowcoreError: If the server refuses, or sends what this version does not know.
    """
    if streams:
        return await _print_stream(client.execute_stream_flow(flow, **inputs), printer)
    response = await client.execute_flow(flow, **inputs)
    printer.chunk(FlowStreamChunk(chunk=response.answer, metadata=response.metadata))
    return True


async def _print_stream(
    chunks: AsyncIterator[Mapping[str, Any]],
    printer: Printer,
    trace: Callable[[OpEvent], object] | None = None,
) -> bool:
    good = True
    async for chunk in chunks:
        if trace is not None and chunk["type"] == "op":
            trace(_op_event(chunk["content"]))
            continue
        try:
            kind = ChunkEnum(chunk["type"])
        except ValueError:
            raise FlowcoreError(
                f"the server sent a chunk of the unknown type {chunk['type']!r}; "
                "it may be newer than this client"
            ) from None
        good = good and kind is not ChunkEnum.ERROR
        printer.chunk(
            FlowStreamChunk(
                flow_id=chunk.get("flow_id", ""),
                chunk_type=kind,
                chunk=chunk["content"],
                metadata=chunk.get("metadata", {}),
            )
        )
    return good


def _op_event(content: object) -> OpEvent:
    try:
        return _OP_EVENT.validate_python(content)
    except ValidationError as error:
        raise FlowcoreError(
            f"the server sent an event of an op that is none: {error.errors()[0]['msg']}; "
            "it may be newer than this client"
        ) from None


def described_flows(
    document: Mapping[str, Any],
) -> dict[str, tuple[bool, Mapping[str, Any]]]:
    """Return whether each flow of an OpenAPI document streams, and the schema of its inputs.

    Raises:
        FlowcoreError: If it is not the document of a flowcore service.
    """
    flows: dict[str, tuple[bool, Mapping[str, Any]]] = {}
    try:
        for path, item in document["paths"].items():
            if "post" in item:
                operation = item["post"]
                streams = "text/event-stream" in operation["responses"]["200"]["content"]
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                flows[path[1:]] = streams, dict(schema)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise FlowcoreError(
            "the server does not describe flows; is it a flowcore service?"
        ) from None
    return flows


def parse_inputs(inputs: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Turn texts into what a flow's JSON Schema asks for; what it does not name stays text."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    values: dict[str, Any] = {}
    for name, text in inputs.items():
        kind = properties.get(name, {}).get("type", "string")
        try:
            value = text if kind == "string" else parse_yaml(text)
        except yaml.YAMLError:
            value = text
        values[name] = value
    return values


_OP_EVENT = TypeAdapter(OpEvent)
