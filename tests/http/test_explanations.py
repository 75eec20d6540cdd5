"""The pages that explain errors show what the errors really say.

Most of their examples are commands, which are run with all blocks of the documentation. These are
the others.
"""

from __future__ import annotations

import json
from typing import Any

import h11
import httpx
import pytest
from quart import Response

from flowcore import BaseAsyncOp, FlowStreamChunk, RunFailedError
from flowcore.ending import error_chunk
from flowcore_http import HttpSettings, StreamCutError, StreamGapError, create_app
from flowcore_http.accepting import fault_beyond_the_limit
from flowcore_http.event_stream import EventStream
from flowcore_http.problem import HttpProblem, problem_of_request, stopping
from flowcore_http.quota import RunQuota
from flowcore_http.request_head import fault_of_line
from tests.explained import assert_explained

from .conftest import MakeApp, Serve

FLOW = "demo_stream_http_flow"


class SayOp(BaseAsyncOp):
    async def async_execute(self) -> None:
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="Hello"))


def assert_shown(problem: dict[str, Any]) -> None:
    assert_explained(problem["code"], json.dumps(problem))


def test_the_page_shows_what_is_said_of_a_stream_that_was_cut():
    with pytest.raises(StreamCutError) as caught:
        EventStream(FLOW, 0).close()
    assert_explained("stream_cut", str(caught.value))


def test_the_page_shows_what_is_said_of_a_stream_that_was_resumed_too_late():
    data = '{"flow_id":"41d9…","first":12,"last":57}'
    with pytest.raises(StreamGapError) as caught:
        list(EventStream(FLOW, 0).feed(f"event:gap\ndata:{data}\n\n".encode()))
    assert_explained("stream_gap", str(caught.value))


async def test_the_pages_show_what_is_said_to_those_who_ask_for_events(serve: Serve):
    flows = {"hello": {"flow_content": "SayOp()"}, "greet": "SayOp()"}
    async with (
        serve(flows, SayOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for flow, after in (("hello", ""), ("greet", "-7")):
            run_id = (await client.post(f"/{flow}", json={})).headers["X-Run-Id"]
            headers = {"Last-Event-ID": f"{run_id}{after}"} if after else {}
            response = await client.get(f"/runs/{run_id}/events", headers=headers)
            assert_shown(response.json())


async def test_the_page_shows_what_a_service_says_that_is_not_ready(make_app: MakeApp):
    quart = create_app(make_app({"hello": "SayOp()"}, SayOp), HttpSettings())
    response = await quart.test_client().get("/ready")
    assert isinstance(response, Response)
    assert_shown(await response.get_json())


async def test_the_page_shows_what_is_said_to_a_client_with_too_many_runs(make_app: MakeApp):
    quota = RunQuota(2)
    async with make_app({"hello": "SayOp()"}, SayOp) as app:
        for _ in range(2):
            quota.count("shop", app.start("hello", {}))
        with pytest.raises(HttpProblem) as caught:
            quota.check("shop")
    assert_shown(json.loads(caught.value.content()))


@pytest.mark.parametrize(
    "problem",
    [
        stopping(),
        problem_of_request(RuntimeError("a fault")),
        fault_beyond_the_limit(b"/hello"),
        fault_of_line(h11.Request(method="GET", target="/hello", headers=[], http_version="2.0")),
    ],
    ids=lambda problem: problem.code,
)
def test_the_page_shows_what_is_said_of_other_problems(problem: HttpProblem):
    assert_shown(json.loads(problem.content()))


def test_the_page_shows_the_last_chunk_of_a_service_that_shuts_down():
    error = RunFailedError("the service is shutting down", {"code": "shutting_down"})
    chunk = error_chunk("1", "greet", error)
    assert_explained("shutting_down", json.dumps(chunk.model_dump(mode="json")))
