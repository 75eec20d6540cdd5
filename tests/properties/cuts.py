"""Connections that break: a proxy that cuts them, and a stub that plays back a recorded stream."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from socket import SO_LINGER, SOL_SOCKET

_RESET = struct.pack("ii", 1, 0)
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def _listening(serve: _Serve) -> AsyncGenerator[str]:
    """Serve connections, which are numbered from 0; the value is the address."""
    tasks: set[asyncio.Task[None]] = set()
    count = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        number, count = count, count + 1
        # Who is cut off may be in the middle of anything.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer, number)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cut(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection, as a program does that ends or as a network does that fails."""
    if reset:
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()


@asynccontextmanager
async def cutting_proxy(port: int, cuts: Sequence[int | bytes]) -> AsyncGenerator[str]:
    """Pass bytes on to a port of this machine; cut connection N after `cuts[N]` of the answer.

    That is a number of bytes, or what an event holds that is the last to come whole. Later
    connections stay whole. The value is the address to use instead.
    """

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        left = cuts[number] if number < len(cuts) else None
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

        async def upwards() -> None:
            while data := await reader.read(65536):
                up_writer.write(data)
            up_writer.close()

        task = asyncio.create_task(upwards())
        try:
            while data := await up_reader.read(65536):
                if isinstance(left, bytes):
                    found = data.find(left)
                    end = data.find(b"\n\n", found) + 2 if found >= 0 else None
                else:
                    end = left
                    left = None if left is None else left - len(data)
                if end is not None and end <= len(data):
                    writer.write(data[:end])
                    await writer.drain()
                    _cut(writer, reset=bool(end % 2))
                    return
                writer.write(data)
                await writer.drain()
        finally:
            up_writer.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async with _listening(serve) as url:
        yield url


@asynccontextmanager
async def playback(
    run_id: str, events: Sequence[bytes], cut: int, *, chunked: bool
) -> AsyncGenerator[str]:
    """Serve a recorded stream, cut the first time, then from where it is asked for.

    Args:
        run_id: Identifier of the run, for the headers.
        events: The events.
        cut: Length of the first answer's body.
        chunked: Whether the transfer coding tells that an answer was cut.
    """

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        known = re.search(rb"(?i)\r\nlast-event-id: %s-(\d+)\r\n" % run_id.encode(), head)
        if number == 0:
            await reader.readexactly(int(re.findall(rb"(?i)content-length: (\d+)", head)[0]))
            body = b"".join(events)[:cut]
        else:
            assert head.startswith(b"GET /runs/%s/events " % run_id.encode())
            assert known is not None
            body = b"".join(events[int(known[1]) :])
        writer.write(
            b"HTTP/1.1 200 \r\nContent-Type: text/event-stream\r\nX-Run-Id: %s\r\n%s\r\n"
            % (run_id.encode(), b"Transfer-Encoding: chunked\r\n" if chunked else b"")
        )
        if chunked and body:
            # The cut is also one of the framing.
            writer.write(b"%x\r\n%s" % (len(body) + (number == 0), body))
            writer.write(b"" if number == 0 else b"\r\n0\r\n\r\n")
        else:
            writer.write(body)
        await writer.drain()
        _cut(writer, reset=False)

    async with _listening(serve) as url:
        yield url
