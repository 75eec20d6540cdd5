"""The OpenAPI document of an app: one operation for each flow.

Source: OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import flowcore
from flowcore import ChunkEnum, Flow, FlowResponse

STREAM = "text/event-stream"
PROBLEM = "application/problem+json"

_RUN_ID = {
    "X-Run-Id": {
        "description": "Identifier of the run; flow_id of its chunks.",
        "schema": {"type": "string"},
    }
}
_TRACE = {
    "name": "Flowcore-Trace",
    "in": "header",
    "description": (
        "With `ops`, the stream has an event of the type `op` whenever an op of the flow starts or "
        "ends. Its data is an object with `op` (its place in the flow), `name` (its class), "
        "`state` (`started`, `finished`, `failed` or `cancelled`) and `at` (seconds since the "
        "start)."
    ),
    "schema": {"type": "string", "enum": ["ops"]},
}


def openapi_document(
    flows: Iterable[Flow], title: str = "flowcore", *, with_keys: bool = False
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of ``flows``.

    Args:
        flows: The flows.
        title: Title of the document.
        with_keys: Whether requests need a key.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": flowcore.__version__},
        "paths": {
            **{f"/{flow.name}": {"post": _operation(flow)} for flow in flows},
            "/health": {"get": _health()},
        },
        "components": {
            "schemas": {
                "FlowResponse": FlowResponse.model_json_schema(),
                "FlowStreamChunk": _chunk_schema(),
                "Problem": _problem_schema(),
            }
        },
    }
    if with_keys:
        scheme = {"type": "http", "scheme": "bearer", "description": "A key of the service."}
        document["components"]["securitySchemes"] = {"key": scheme}
        document["security"] = [{"key": []}]
        document["paths"]["/health"]["get"]["security"] = []
    return document


def _operation(flow: Flow) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"run_{flow.name}",
        "tags": ["flows"],
        "summary": (flow.description.strip() or flow.name).split("\n", 1)[0],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": flow.input_schema}},
        },
        "responses": {
            "200": _stream_response() if flow.stream else _json_response(),
            "400": _problem("The body is not valid JSON."),
            "401": _problem("A key is needed, and there is no valid one."),
            "404": _problem("There is no such flow."),
            "413": _problem("The body is too large."),
            "415": _problem("The body is not declared as JSON in UTF-8."),
            "422": _problem("The inputs do not fit the schema; `errors` lists the fields."),
            "429": _problem("The client asks too often, or has too many runs."),
            "500": _problem("The flow failed."),
            "503": _problem("The service is stopping."),
        },
    }
    if flow.stream:
        operation["parameters"] = [_TRACE]
    else:
        operation["responses"]["502"] = _problem("A model or another backend failed.")
        operation["responses"]["504"] = _problem("A model or another backend took too long.")
    if flow.description.strip():
        operation["description"] = flow.description
    return operation


def _json_response() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/FlowResponse"}
    return {
        "description": "The answer.",
        "content": {"application/json": {"schema": schema}},
    }


def _stream_response() -> dict[str, Any]:
    return {
        "description": (
            "A stream of events. The data of each is one chunk as JSON; that of the last is "
            "`[DONE]`. A failed run sends one chunk of type `error` right before it. A stream "
            "with no `[DONE]` was cut. The schema describes the data of one event."
        ),
        "headers": _RUN_ID,
        "content": {STREAM: {"schema": {"$ref": "#/components/schemas/FlowStreamChunk"}}},
    }


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM: {"schema": schema}}}


def _health() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"status": {"type": "string", "const": "healthy"}},
        "required": ["status"],
    }
    return {
        "operationId": "health",
        "tags": ["service"],
        "summary": "Tell whether the service takes requests.",
        "responses": {
            "200": {
                "description": "It does.",
                "content": {"application/json": {"schema": schema}},
            },
            "503": _problem("The service is stopping."),
        },
    }


def _chunk_schema() -> dict[str, Any]:
    kinds = [kind.value for kind in ChunkEnum if kind is not ChunkEnum.DONE]
    return {
        "type": "object",
        "properties": {
            "flow_id": {"type": "string", "description": "Identifier of the run."},
            "chunk_type": {"type": "string", "enum": kinds},
            "chunk": {
                "type": ["string", "object", "array"],
                "items": {},
                "description": "Text, or the tool call or token counts as an object.",
            },
            "done": {"type": "boolean", "description": "Always false; the end is `[DONE]`."},
            "metadata": {"type": "object"},
        },
        "required": ["flow_id", "chunk_type", "chunk", "done", "metadata"],
    }


def _problem_schema() -> dict[str, Any]:
    field = {
        "type": "object",
        "properties": {
            "loc": {
                "type": "array",
                "items": {"type": ["string", "integer"]},
                "description": "Path to the field.",
            },
            "msg": {"type": "string"},
            "type": {"type": "string"},
        },
        "required": ["loc", "msg", "type"],
    }
    return {
        "type": "object",
        "description": "RFC 9457, Problem Details for HTTP APIs.",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong and what to do."},
            "code": {"type": "string", "description": "Kind of fault, for programs."},
            "error_id": {"type": "string", "description": "Where the log tells more."},
            "errors": {"type": "array", "items": field},
        },
        "required": ["type", "title", "status", "detail", "code"],
    }
