"""The description of the API, and the page that shows it."""

from __future__ import annotations

import re

import httpx
import openapi_spec_validator
import pytest

from flowcore import BaseAsyncOp
from flowcore_http.openapi import openapi_document


class IdleOp(BaseAsyncOp):
    """Does nothing."""

    async def async_execute(self):
        pass


EVIL = '</script><img src=x onerror="alert(1)">'
FLOWS = {
    "talk": {
        "flow_content": "IdleOp()",
        "stream": True,
        "description": f"Talks.\nAt length. {EVIL}",
        "input_schema": {
            "query": {"type": "string", "description": "What to say", "required": True},
            "tone": {"type": "string", "enum": ["dry", "warm"], "default": "dry"},
            "tags": {"type": "array", "items": {"type": "string"}, "required": False},
            "more": {"type": "object", "properties": {"depth": {"type": "integer"}}},
        },
    },
    "a.dotted-name": {"flow_content": "IdleOp()"},
    "a_dotted_name": {"flow_content": "IdleOp()"},
}


@pytest.fixture
def document(make_app):
    return openapi_document(make_app(FLOWS, IdleOp).flows.values())


def test_the_document_is_valid_openapi_3_1(document):
    openapi_spec_validator.validate(document)

    assert document["openapi"].startswith("3.1")


def test_every_flow_and_health_are_described(document):
    assert set(document["paths"]) == {"/talk", "/a.dotted-name", "/a_dotted_name", "/health"}
    ids = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(set(ids)) == len(ids)


def test_the_request_is_described_by_the_input_schema(document):
    schema = document["paths"]["/talk"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]

    assert schema["properties"]["query"] == {"type": "string", "description": "What to say"}
    assert "query" in schema["required"]
    assert "tone" not in schema["required"]
    assert schema["properties"]["tone"]["enum"] == ["dry", "warm"]


def test_streams_and_answers_are_told_apart(document):
    def content(path: str) -> set[str]:
        return set(document["paths"][path]["post"]["responses"]["200"]["content"])

    assert content("/talk") == {"text/event-stream"}
    assert content("/a_dotted_name") == {"application/json"}


def test_every_fault_is_described_as_a_problem(document):
    responses = document["paths"]["/talk"]["post"]["responses"]

    for status in ("400", "404", "413", "415", "422", "500", "503"):
        assert set(responses[status]["content"]) == {"application/problem+json"}


async def test_the_server_serves_the_document(serve, document):
    async with serve(FLOWS, IdleOp) as server, httpx.AsyncClient() as client:
        response = await client.get(f"{server.url}/openapi.json")

    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == document


async def test_the_page_needs_nothing_from_elsewhere(serve):
    async with serve(FLOWS, IdleOp) as server, httpx.AsyncClient(base_url=server.url) as client:
        page = await client.get("/docs")
        parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = {
            part: await client.get(f"/{part}") for part in parts if not part.startswith("data:")
        }

    assert page.headers["Content-Type"].startswith("text/html")
    assert set(answers) == {"docs/docs.css", "docs/docs.js", "openapi.json"}
    for response in (page, *answers.values()):
        assert response.status_code == 200
        assert "http://" not in response.text
        assert "https://" not in response.text
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_may_run_its_own_script_only(serve):
    async with serve(FLOWS, IdleOp) as server, httpx.AsyncClient(base_url=server.url) as client:
        page = await client.get("/docs")
        script = await client.get("/docs/docs.js")

    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert EVIL not in page.text
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.text
    )
