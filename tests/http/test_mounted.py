"""Flows mounted in an app of another framework, on servers that know nothing of flowcore."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.routing import Mount

from flowcore import BaseAsyncOp, Flow, FlowApp, FlowStreamChunk, RunState
from flowcore_http import HttpClient, create_app


class TickOp(BaseAsyncOp):
    """Sends a chunk, and the next when the test says so."""

    async def async_execute(self):
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="tick"))
        await self.context.more.wait()
        await self.context.add_stream_chunk(FlowStreamChunk(chunk="tock"))


class PreparedOp(BaseAsyncOp):
    """Gives the run an event that the test knows."""

    more: anyio.Event

    async def async_execute(self):
        self.context.more = self.more


def in_fastapi(flows: FlowApp) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        async with flows:
            yield

    api = FastAPI(lifespan=lifespan)
    api.mount("/flows", create_app(flows))  # pyright: ignore[reportArgumentType]
    return api


def in_starlette(flows: FlowApp) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        async with flows:
            yield

    routes = [Mount("/flows", create_app(flows))]  # pyright: ignore[reportArgumentType]
    return Starlette(lifespan=lifespan, routes=routes)


@asynccontextmanager
async def on_hypercorn(app: Any, sock: socket.socket) -> AsyncGenerator[None]:
    config = Config()
    config.bind = [f"fd://{sock.dup().detach()}"]  # which it closes by itself
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve(app, config, shutdown_trigger=stop.wait))
        yield
        stop.set()


@asynccontextmanager
async def on_uvicorn(app: Any, sock: socket.socket) -> AsyncGenerator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    server.capture_signals = nullcontext  # pyright: ignore[reportAttributeAccessIssue]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.serve([sock]))
        yield
        server.should_exit = True


@pytest.fixture(params=[in_fastapi, in_starlette])
def mount(request: pytest.FixtureRequest):
    return request.param


@pytest.fixture(params=[on_hypercorn, on_uvicorn])
def run_on(request: pytest.FixtureRequest):
    return request.param


@asynccontextmanager
async def mounted(mount, run_on, more: anyio.Event) -> AsyncGenerator[tuple[FlowApp, str]]:
    op = PreparedOp(more=more) >> TickOp()
    flows = FlowApp({}, flows={"tick": Flow("tick", op, stream=True)})
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/flows"
        async with run_on(mount(flows), sock):
            yield flows, url


async def test_a_mounted_flow_streams_chunk_by_chunk(mount, run_on):
    more = anyio.Event()
    with anyio.fail_after(10):
        async with mounted(mount, run_on, more) as (_, url), HttpClient(url) as client:
            found = []
            async for chunk in client.execute_stream_flow("tick"):
                found.append(chunk["content"])
                more.set()

    assert found == ["tick", "tock"]


async def test_the_run_of_a_mounted_flow_is_cancelled_when_its_client_leaves(mount, run_on):
    with anyio.fail_after(10):
        async with mounted(mount, run_on, anyio.Event()) as (flows, url):
            async with httpx.AsyncClient() as client:
                async with client.stream("POST", f"{url}/tick", json={}) as response:
                    async for line in response.aiter_lines():
                        if "tick" in line:
                            break
                    run = flows.runs[response.headers["X-Run-Id"]]
            await run.wait()

    assert run.state is RunState.CANCELLED


async def test_a_mounted_app_has_its_documentation_where_it_is_mounted(mount, run_on):
    with anyio.fail_after(10):
        async with mounted(mount, run_on, anyio.Event()) as (_, url):
            async with httpx.AsyncClient() as client:
                document = (await client.get(f"{url}/openapi.json")).json()
                page = await client.get(f"{url}/docs")

    assert "/tick" in document["paths"]
    assert page.status_code == 200
