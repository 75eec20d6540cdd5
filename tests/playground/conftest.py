"""A real service and a real Chromium; a page that asks others, or complains, fails its test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, Request, async_playwright

import flowcore.testing
from flowcore import BaseAsyncOp, FlowApp, FlowStreamChunk, Op, Registrar, hookimpl, load_config
from flowcore_http import HttpSettings, create_app
from flowcore_http.listener import listen
from flowcore_http.servers import server_of
from tests.chromium import OPTIONS, find_chromium
from tests.servers import SERVER

Step = str | float | FlowStreamChunk | anyio.Event | Exception
SCRIPTS: dict[str, list[Step]] = {}
INPUTS: list[dict[str, Any]] = []


class TellOp(BaseAsyncOp):
    """Emits what the test has written, waits where it says so, and raises its errors."""

    script: str = ""

    async def async_execute(self) -> None:
        INPUTS.append(dict(self.context))
        for step in SCRIPTS[self.script]:
            match step:
                case anyio.Event():
                    await step.wait()
                case int() | float():
                    await anyio.sleep(step)
                case Exception():
                    raise step
                case str():
                    await self.context.add_stream_chunk(FlowStreamChunk(chunk=step))
                case _:
                    await self.context.add_stream_chunk(step)


class EchoOp(BaseAsyncOp):
    """Answers with what it was asked."""

    async def async_execute(self) -> None:
        INPUTS.append(dict(self.context))
        self.context.response.answer = f"You said **{self.context.get('query', '')}**"


class PassOnOp(BaseAsyncOp):
    """Passes on what the model says."""

    async def async_execute(self) -> None:
        async for chunk in self.llm.astream_chat([]):
            await self.context.add_stream_chunk(chunk)


class _Ops:
    @hookimpl
    def flowcore_register_ops(self, ops: Registrar[Op]) -> None:
        for op in (TellOp, EchoOp, PassOnOp):
            ops.add(op)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for all tests of a module, for the browser lives in it."""
    return "asyncio"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=OPTIONS)
        yield browser
        await browser.close()


@pytest.fixture
def scripts() -> dict[str, list[Step]]:
    """What the ops of this test say, by the names of their scripts."""
    SCRIPTS.clear()
    return SCRIPTS


@pytest.fixture
def inputs() -> list[dict[str, Any]]:
    """The inputs of the runs of this test."""
    INPUTS.clear()
    return INPUTS


@dataclass
class Site:
    """The page of a service.

    Attributes:
        page: The page, in a tab of its own.
        url: Address of the service.
        app: Its flows.
        requests: What the page asked for.
        complaints: What the browser said that it should not have to say.
        refusals: Whether the test lets the service refuse something, which the browser reports.
    """

    page: Page
    url: str
    app: FlowApp
    requests: list[Request] = field(default_factory=list[Request])
    complaints: list[str] = field(default_factory=list[str])
    refusals: bool = False

    def by_id(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    async def open(self, path: str = "playground") -> None:
        await self.page.goto(f"{self.url}/{path}")
        await self.page.wait_for_selector("#main:not([hidden]), #access:not([hidden])")

    async def choose(self, flow: str) -> None:
        await self.page.get_by_role("radio", name=flow).check()

    async def start(self) -> None:
        await self.by_id("run").click()

    async def state(self, *names: str) -> None:
        """Wait until the run is in one of these states."""
        await self.page.wait_for_selector(", ".join(f"#state.{name}" for name in names))

    async def run(self, *states: str) -> None:
        """Run the chosen flow to its end."""
        await self.start()
        await self.state(*(states or ("done",)))

    async def transcript(self) -> str:
        return await self.by_id("transcript").inner_text()

    async def shows(self, text: str) -> None:
        """Wait until the transcript holds a text."""
        await self.page.wait_for_function(
            "text => document.getElementById('transcript').innerText.includes(text)", arg=text
        )

    def watch(self, page: Page) -> None:
        """Note what a page asks for, and what is wrong with it."""
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - it sets attributes
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

        def note(message: Any) -> None:
            refused = message.text.startswith("Failed to load resource")
            if message.type in {"error", "warning"} and not (refused and self.refusals):
                self.complaints.append(f"{message.type}: {message.text}")

        page.on("console", note)

    def check(self) -> None:
        """Check that the page has asked its own service only, and that nothing was wrong."""
        origins = {urlsplit(request.url).netloc for request in self.requests}
        assert origins == {urlsplit(self.url).netloc}
        assert self.complaints == []


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]

DESKTOP = {"width": 1300, "height": 900}
PHONE = {"width": 360, "height": 740}


@asynccontextmanager
async def serving(
    flows: Mapping[str, Any], config: Mapping[str, Any], values: Mapping[str, Any]
) -> AsyncGenerator[tuple[str, FlowApp]]:
    entries = {
        name: {"flow_content": flow, "stream": True} if isinstance(flow, str) else flow
        for name, flow in flows.items()
    }
    settings = HttpSettings(port=0, server=SERVER, playground=True, **values)
    loaded = load_config({"flow": entries, **config})
    app = FlowApp(loaded, plugins=[_Ops(), flowcore.testing])
    stop = anyio.Event()
    with listen(settings) as sock:
        async with app, anyio.create_task_group() as tasks:
            tasks.start_soon(server_of(settings), create_app(app, settings), sock, stop.wait)
            try:
                yield f"http://127.0.0.1:{sock.getsockname()[1]}", app
            finally:
                stop.set()


@pytest.fixture
def open_site(browser: Browser) -> OpenSite:
    """Return a context manager: `async with open_site({"demo": "EchoOp()"}) as site`.

    `on` is what the browser is like, such as `{"viewport": PHONE, "locale": "zh-CN"}`.
    """

    @asynccontextmanager
    async def open_(
        flows: Mapping[str, Any],
        *,
        on: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        refusals: bool = False,
        through: Callable[[int], AbstractAsyncContextManager[str]] | None = None,
        **values: Any,
    ) -> AsyncGenerator[Site]:
        async with serving(flows, config or {}, values) as (url, app):
            if through is None:
                async with _tab(browser, on, url, app, refusals=refusals) as site:
                    yield site
                return
            port = urlsplit(url).port
            assert port is not None
            async with through(port) as proxied:
                async with _tab(browser, on, proxied, app, refusals=refusals) as site:
                    yield site

    return open_


@asynccontextmanager
async def _tab(
    browser: Browser, on: Mapping[str, Any] | None, url: str, app: FlowApp, *, refusals: bool
) -> AsyncGenerator[Site]:
    look: dict[str, Any] = {"viewport": DESKTOP, "locale": "en-US", "color_scheme": "light"}
    context: BrowserContext = await browser.new_context(**{**look, **(on or {})})
    context.set_default_timeout(30_000)
    try:
        page = await context.new_page()
        site = Site(page, url, app, refusals=refusals)
        site.watch(page)
        await site.open()
        yield site
        site.check()
    finally:
        await context.close()
