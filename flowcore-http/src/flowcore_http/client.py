"""Clients of a running service, async and blocking.

What they share, which is everything but the I/O, is in :mod:`flowcore_http.protocol` and
:mod:`flowcore_http.event_stream`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

import anyio
import httpx

from flowcore import FlowResponse
from flowcore_http.errors import HttpError
from flowcore_http.event_stream import EventStream
from flowcore_http.protocol import (
    check_stream,
    check_url,
    connection_error,
    flow_request,
    key_header,
    parse_json,
    parse_response,
    raise_for_status,
    resume_request,
    run_path,
    stream_timeout,
)


class HttpClient:
    """Calls the flows of a running service.

    Args:
        base_url: Address of the service, such as ``"http://127.0.0.1:8002"``.
        timeout: Seconds to wait for the answer of a flow that is not streamed.
        idle_timeout: Seconds of silence, heartbeats included, after which a stream counts as
            dead. A stream has no limit of its own.
        reconnects: How often in a row to connect again without getting anything, where a stream
            was cut.
        api_key: Key of the service, where it asks for one.
        **options: Further arguments of ``httpx.AsyncClient``, such as ``headers``.

    Example:
        ``async with HttpClient("http://127.0.0.1:8002") as client: await client.health_check()``
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 600.0,
        idle_timeout: float = 60.0,
        reconnects: int = 5,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        limits = httpx.Timeout(timeout, connect=5.0)
        self._http = httpx.AsyncClient(base_url=check_url(base_url), timeout=limits, **options)
        self._http.headers.update(key_header(api_key))
        self._stream_timeout = stream_timeout(idle_timeout)
        self._reconnects = reconnects

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc_value, tb)

    async def aclose(self) -> None:
        """Close the connections, for use without ``async with``."""
        await self._http.aclose()

    async def health_check(self) -> dict[str, Any]:
        """Return ``{"status": "healthy"}``.

        Raises:
            HttpError: If the service cannot be reached or does not take requests.
        """
        return parse_json(await self._request("GET", "/health"))

    async def list_endpoints(self) -> dict[str, Any]:
        """Return the service's OpenAPI document; ``paths`` are its keys for endpoints.

        Raises:
            HttpError: If the service cannot be reached or answers with an error.
        """
        return parse_json(await self._request("GET", "/openapi.json"))

    async def execute_flow(self, flow: str, /, **inputs: Any) -> FlowResponse:
        """Run a flow that is not streamed and return its answer.

        Raises:
            HttpError: If the service cannot be reached or answers with an error.
        """
        return parse_response(await self._request(**flow_request(flow, inputs)))

    def execute_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run a streamed flow and yield its chunks as they come.

        Each is a dict with the keys ``type``, ``content``, ``metadata``, ``flow_id`` and
        ``event_id``. A run that fails yields a last chunk of type ``error``. A stream that is cut
        is resumed where it was cut, if its flow has an ``on_disconnect`` with time for that, or
        its run has ended. Leaving the loop closes the connection, which cancels the run, after that
        time; ``contextlib.aclosing`` makes that certain to happen at once.

        Raises:
            HttpError: If the service cannot be reached or refuses the request.
            StreamCutError: If the stream ends before its end mark and cannot be resumed; all that
                came was yielded.
            StreamGapError: If it was resumed too late, so that something is missing.
        """
        return self._follow(EventStream(flow, self._reconnects), flow_request(flow, inputs))

    def trace_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Do as :meth:`execute_stream_flow`, and yield also when the run's ops start and end.

        They come as dicts of the type ``op``, whose ``content`` has the keys ``op``, ``name``,
        ``state`` and ``at``. A service that does not know of traces yields the chunks alone.
        """
        request = flow_request(flow, inputs, trace=True)
        return self._follow(EventStream(flow, self._reconnects), request)

    def resume_stream(self, event_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of a streamed run that come after an event.

        Args:
            event_id: ``event_id`` of the last chunk that is known; for the whole stream, the
                identifier of the run with ``-0`` behind it.

        Raises:
            HttpError: As :meth:`execute_stream_flow`.
        """
        events = EventStream(event_id, self._reconnects, event_id)
        return self._follow(events, resume_request(event_id))

    async def get_run(self, run_id: str) -> dict[str, Any]:
        """Return what the service knows of a run: ``state``, ``chunks``, ``ending`` and more.

        Raises:
            HttpError: If it does not know the run, or cannot be reached.
        """
        return parse_json(await self._request("GET", run_path(run_id)))

    async def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Cancel a run, and return what :meth:`get_run` does.

        Raises:
            HttpError: If the service does not know the run, or cannot be reached.
        """
        return parse_json(await self._request("POST", f"{run_path(run_id)}/cancel"))

    async def _follow(
        self, events: EventStream, request: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        while not events.ended:
            try:
                async with self._stream(request) as response:
                    events.open(response)
                    async for data in response.aiter_bytes():
                        for chunk in events.feed(data):
                            yield chunk
                        if events.ended:
                            return
                    events.close()
            except HttpError as error:
                await anyio.sleep(events.delay(error))
            request = events.resume_request()

    @asynccontextmanager
    async def _stream(self, arguments: dict[str, Any]) -> AsyncGenerator[httpx.Response, None]:
        request = self._http.build_request(**arguments, timeout=self._stream_timeout)
        response: httpx.Response | None = None
        try:
            response = await self._http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
            check_stream(response)
            yield response
        except httpx.RequestError as error:
            raise connection_error(error, request.url, answered=response is not None) from None
        finally:
            if response is not None:
                await response.aclose()

    async def _request(self, method: str, url: str, **content: Any) -> httpx.Response:
        request = self._http.build_request(method, url, **content)
        try:
            response = await self._http.send(request)
        except httpx.RequestError as error:
            raise connection_error(error, request.url) from None
        raise_for_status(response)
        return response


class SyncHttpClient:
    """Blocking twin of :class:`HttpClient`, with the same arguments and methods."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 600.0,
        idle_timeout: float = 60.0,
        reconnects: int = 5,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        limits = httpx.Timeout(timeout, connect=5.0)
        self._http = httpx.Client(base_url=check_url(base_url), timeout=limits, **options)
        self._http.headers.update(key_header(api_key))
        self._stream_timeout = stream_timeout(idle_timeout)
        self._reconnects = reconnects

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._http.__exit__(exc_type, exc_value, tb)

    def close(self) -> None:
        """Close the connections, for use without ``with``."""
        self._http.close()

    def health_check(self) -> dict[str, Any]:
        """Blocking twin of :meth:`HttpClient.health_check`."""
        return parse_json(self._request("GET", "/health"))

    def list_endpoints(self) -> dict[str, Any]:
        """Blocking twin of :meth:`HttpClient.list_endpoints`."""
        return parse_json(self._request("GET", "/openapi.json"))

    def execute_flow(self, flow: str, /, **inputs: Any) -> FlowResponse:
        """Blocking twin of :meth:`HttpClient.execute_flow`."""
        return parse_response(self._request(**flow_request(flow, inputs)))

    def execute_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> Generator[dict[str, Any], None, None]:
        """Blocking twin of :meth:`HttpClient.execute_stream_flow`."""
        return self._follow(EventStream(flow, self._reconnects), flow_request(flow, inputs))

    def trace_stream_flow(
        self, flow: str, /, **inputs: Any
    ) -> Generator[dict[str, Any], None, None]:
        """Blocking twin of :meth:`HttpClient.trace_stream_flow`."""
        request = flow_request(flow, inputs, trace=True)
        return self._follow(EventStream(flow, self._reconnects), request)

    def resume_stream(self, event_id: str) -> Generator[dict[str, Any], None, None]:
        """Blocking twin of :meth:`HttpClient.resume_stream`."""
        events = EventStream(event_id, self._reconnects, event_id)
        return self._follow(events, resume_request(event_id))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Blocking twin of :meth:`HttpClient.get_run`."""
        return parse_json(self._request("GET", run_path(run_id)))

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Blocking twin of :meth:`HttpClient.cancel_run`."""
        return parse_json(self._request("POST", f"{run_path(run_id)}/cancel"))

    def _follow(
        self, events: EventStream, request: dict[str, Any]
    ) -> Generator[dict[str, Any], None, None]:
        while not events.ended:
            try:
                with self._stream(request) as response:
                    events.open(response)
                    for data in response.iter_bytes():
                        yield from events.feed(data)
                        if events.ended:
                            return
                    events.close()
            except HttpError as error:
                time.sleep(events.delay(error))
            request = events.resume_request()

    @contextmanager
    def _stream(self, arguments: dict[str, Any]) -> Generator[httpx.Response, None, None]:
        request = self._http.build_request(**arguments, timeout=self._stream_timeout)
        response: httpx.Response | None = None
        try:
            response = self._http.send(request, stream=True)
            if not response.is_success:
                response.read()
            check_stream(response)
            yield response
        except httpx.RequestError as error:
            raise connection_error(error, request.url, answered=response is not None) from None
        finally:
            if response is not None:
                response.close()

    def _request(self, method: str, url: str, **content: Any) -> httpx.Response:
        request = self._http.build_request(method, url, **content)
        try:
            response = self._http.send(request)
        except httpx.RequestError as error:
            raise connection_error(error, request.url) from None
        raise_for_status(response)
        return response
