"""Running one flow for the terminal: in this process, or on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import anyio
import yaml

from flowcore.app import FlowApp
from flowcore.errors import ConfigError, FlowcoreError, UnknownNameError
from flowcore.schema import ChunkEnum, FlowStreamChunk
from flowcore.yaml_text import parse_yaml


class Printer(Protocol):
    """Where the chunks of a run go."""

    def chunk(self, chunk: FlowStreamChunk) -> None:
        """Print one chunk."""
        ...


def call_here(app: FlowApp, flow: str, inputs: Mapping[str, str], printer: Printer) -> bool:
    """Run a flow in this process; return whether it came to a good end.

    Raises:
        UnknownNameError: If there is no such flow.
        InputError: If the inputs do not fit.
    """

    async def run() -> bool:
        if flow not in app.flows:
            raise UnknownNameError("flow", flow, app.flows)
        values = parse_inputs(inputs, app.flows[flow].input_schema)
        async with app, app.stream(flow, **values) as chunks:
            while batch := await chunks.run.receive():
                for chunk in batch:
                    printer.chunk(chunk)
            await chunks.run.wait()
            return chunks.run.error is None

    return anyio.run(run)


def call_server(
    app: FlowApp, url: str, flow: str, inputs: Mapping[str, str], printer: Printer
) -> bool:
    """Run a flow on the server at ``url``; return whether it came to a good end.

    Raises:
        ConfigError: If no installed service understands the URL.
        UnknownNameError: If the server has no such flow.
        FlowcoreError: If the server cannot be reached or refuses.
    """
    scheme = url.partition(":")[0].lower().removesuffix("s")
    service = app.catalog.services.get(scheme)
    if service is None:
        hint = app.plugins.hint(scheme) or "write it as http://host:port"
        raise ConfigError(f"no installed service understands the URL {url!r}; {hint}")

    async def run() -> bool:
        async with service.connect(url) as client:
            document = await client.list_endpoints()
            try:
                streams = _stream_flows(document)
                if flow not in streams:
                    raise UnknownNameError("flow", flow, streams)
                values = parse_inputs(inputs, _body_schema(document["paths"][f"/{flow}"]["post"]))
            except (LookupError, TypeError, AttributeError) as error:
                if isinstance(error, FlowcoreError):
                    raise
                raise FlowcoreError(f"{scheme}: the server does not describe flows") from None
            if not streams[flow]:
                response = await client.execute_flow(flow, **values)
                printer.chunk(FlowStreamChunk(chunk=response.answer, metadata=response.metadata))
                return True
            return await _print_stream(client.execute_stream_flow(flow, **values), printer)

    return anyio.run(run)


async def _print_stream(chunks: AsyncIterator[Mapping[str, Any]], printer: Printer) -> bool:
    good = True
    async for chunk in chunks:
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


def _stream_flows(document: Mapping[str, Any]) -> dict[str, bool]:
    """Return the flows of an OpenAPI document, and whether each is streamed."""
    return {
        path[1:]: "text/event-stream" in item["post"]["responses"]["200"]["content"]
        for path, item in document["paths"].items()
        if "post" in item
    }


def _body_schema(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    return (
        operation.get("requestBody", {})
        .get("content", {})
        .get("application/json", {})
        .get("schema", {})
    )


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
        # YAML reads 1 as an integer and 1.0 as a number, as people do.
        values[name] = value
    return values
