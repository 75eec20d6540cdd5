"""A smoke test of a running service: ``python -m flowcore_http.smoke [URL]``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from flowcore import FlowcoreError
from flowcore_http.client import SyncHttpClient

_LABELS = {"think": "[think]", "tool": "[tool]", "usage": "[usage]", "error": "[error]"}


class SmokeTestError(FlowcoreError):
    """The service answers, but not as it should."""

    code = "smoke_test_failed"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("url", default="http://127.0.0.1:8002")
@click.option("--flow", help="Try this flow only; by default the first of each kind.")
@click.option("--query", default="what is ai", show_default=True, help="Value of text inputs.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=JSON", help="Value of an input.")
def main(url: str, flow: str | None, query: str, inputs: tuple[str, ...]) -> None:
    """Check the service at URL: health, endpoints, a flow that streams and one that does not.

    The key of a service that asks for one is taken from FLOWCORE_API_KEY.
    """
    # A console that cannot show a character of an answer must not fail the test.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    values = dict(_parse_input(text) for text in inputs)
    try:
        with SyncHttpClient(url, api_key=os.environ.get("FLOWCORE_API_KEY") or None) as client:
            _check(client, flow, query, values)
    except FlowcoreError as error:
        click.echo(f"smoke test failed: {error}", err=True)
        sys.exit(1)
    click.echo("smoke test passed")


def _check(client: SyncHttpClient, flow: str | None, query: str, values: dict[str, Any]) -> None:
    health = client.health_check()
    click.echo(f"health: {json.dumps(health)}")
    if health.get("status") != "healthy":
        raise SmokeTestError(f"/health answers {health!r}")
    paths: dict[str, Any] = client.list_endpoints().get("paths", {})
    click.echo(f"endpoints: {list(paths)}")
    operations = {path[1:]: item["post"] for path, item in paths.items() if "post" in item}
    for name in _choose(operations, flow):
        body = {**_example(operations[name], query), **values}
        if _is_stream(operations[name]):
            _check_stream(client, name, body)
        else:
            _check_answer(client, name, body)


def _choose(operations: dict[str, Any], flow: str | None) -> list[str]:
    if flow is not None:
        if flow not in operations:
            raise SmokeTestError(f"there is no flow {flow!r}; there are {list(operations)}")
        return [flow]
    streamed = [name for name in operations if _is_stream(operations[name])]
    answered = [name for name in operations if not _is_stream(operations[name])]
    if not operations:
        raise SmokeTestError("the service has no flow")
    return streamed[:1] + answered[:1]


def _check_stream(client: SyncHttpClient, flow: str, body: dict[str, Any]) -> None:
    click.echo(f"stream of {flow}:")
    count, failure, shown = 0, "", ""
    for chunk in client.execute_stream_flow(flow, **body):
        count += 1
        kind, content = chunk["type"], chunk["content"]
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        if kind != shown and kind in _LABELS:
            click.echo(f"\n{_LABELS[kind]} ", nl=False)
        elif kind != shown and shown:
            click.echo("")
        shown = kind
        click.echo(text, nl=False)
        if kind == "error":
            failure = text
    click.echo("")
    if failure:
        raise SmokeTestError(f"flow {flow!r} failed: {failure}")
    if not count:
        raise SmokeTestError(f"flow {flow!r} streamed nothing")


def _check_answer(client: SyncHttpClient, flow: str, body: dict[str, Any]) -> None:
    response = client.execute_flow(flow, **body)
    click.echo(f"answer of {flow}: {response.model_dump_json()}")
    if not response.success:
        raise SmokeTestError(f"flow {flow!r} answers with success: false")


def _is_stream(operation: dict[str, Any]) -> bool:
    return "text/event-stream" in operation["responses"]["200"]["content"]


def _example(operation: dict[str, Any], query: str) -> dict[str, Any]:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    fields: dict[str, Any] = schema.get("properties") or {"query": {"type": "string"}}
    required = set(schema.get("required", ())) or {"query"}
    return {
        name: _example_value(field, query)
        for name, field in fields.items()
        if name in required and "default" not in field
    }


def _example_value(field: dict[str, Any], query: str) -> Any:
    if field.get("enum"):
        return field["enum"][0]
    by_type: dict[str, Any] = {
        "integer": 1,
        "number": 1.0,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return by_type.get(field.get("type", ""), query)


def _parse_input(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not of the form NAME=JSON", param_hint="--input")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    main()
