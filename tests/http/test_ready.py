"""Readiness: whether the service takes work."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import httpx

from flowcore import BaseAsyncOp, FlowStreamChunk
from flowcore_http import create_app

from .observed import observed


class GreetOp(BaseAsyncOp):
    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="hello"))


async def test_a_service_that_takes_work_is_ready(serve):
    async with (
        serve({"greet": "GreetOp()"}, GreetOp) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        response = await client.get("/ready")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"status": "ready"}


async def test_a_service_whose_app_is_not_open_is_not_ready(make_app):
    quart = create_app(make_app({"greet": "GreetOp()"}, GreetOp))

    response = await quart.test_client().get("/ready")

    assert response.status_code == 503
    assert (await response.get_json())["code"] == "not_ready"


async def test_a_service_that_drains_is_not_ready_while_its_streams_go_on(tmp_path: Path):
    async with (
        observed(tmp_path, "http.drain_timeout=15") as service,
        httpx.AsyncClient(base_url=service.url) as client,
        client.stream("POST", "/wait", json={"seconds": 1.5}) as stream,
    ):
        texts = stream.aiter_text()
        while "hello" not in await anext(texts):
            pass
        assert (await client.get("/ready")).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(5):
            while (response := await client.get("/ready")).status_code == 200:
                await anyio.sleep(0.01)
        rest = "".join([text async for text in texts])
        with anyio.fail_after(10):
            code = await service.process.wait()

    assert response.status_code == 503
    assert response.json()["code"] == "stopping"
    assert rest.endswith("data:[DONE]\n\n")
    assert code == 0
