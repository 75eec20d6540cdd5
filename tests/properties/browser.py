"""A page in Chromium, without a window, that reads event streams with the browser's own parser."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.chromium import OPTIONS, find_chromium

PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script>
async function read(url, untilClosed) {
  const events = [];
  const source = new EventSource(url);
  const take = ({ type, data, lastEventId }) => events.push([data, type, lastEventId]);
  for (const type of ["message", "one", "two", "gap", " message "]) {
    source.addEventListener(type, take);
  }
  await new Promise((resolve) => {
    source.onerror = () => {
      if (!untilClosed || source.readyState === EventSource.CLOSED) resolve();
    };
  });
  source.close();
  return events;
}

async function work() {
  for (;;) {
    const { url, untilClosed } = await (await fetch("/next")).json();
    const body = JSON.stringify(await read(url, untilClosed));
    await fetch("/result", { method: "POST", body });
  }
}
work();
</script>
"""


class Browser:
    """The page, and the server that it came from."""

    def __init__(self) -> None:
        self.wanted: queue.Queue[dict[str, Any]] = queue.Queue()
        self.results: queue.Queue[list[list[str]]] = queue.Queue()
        self.stream = b""
        self.url = ""

    def parse(self, stream: bytes) -> list[list[str]]:
        """Return data, type and last event id of the events in a stream."""
        self.stream = stream
        return self.read(f"{self.url}/stream", until_closed=False)

    def read(self, url: str, *, until_closed: bool = True) -> list[list[str]]:
        """Return the events of a URL; to the end of all connections, or of the first one."""
        self.wanted.put({"url": url, "untilClosed": until_closed})
        return self.results.get(timeout=30)


def _handler(browser: Browser) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            match self.path:
                case "/":
                    self.answer("text/html", PAGE.encode())
                case "/stream":
                    self.answer("text/event-stream", browser.stream)
                case "/next":
                    wanted = browser.wanted.get()
                    self.answer("application/json", json.dumps(wanted).encode())
                case _:
                    self.send_error(404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            browser.results.put(json.loads(body))
            self.answer("text/plain", b"")

        def answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    # The request that asks what is next stays open until the end.
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """The browser is free to leave."""


@contextmanager
def running_browser() -> Generator[Browser]:
    """Start Chromium with the page."""
    browser = Browser()
    server = _Server(("127.0.0.1", 0), _handler(browser))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    browser.url = f"http://127.0.0.1:{server.server_port}"
    command = [
        find_chromium(),
        "--headless",
        "--no-first-run",
        "--remote-debugging-port=0",
        *OPTIONS,
    ]
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            process = subprocess.Popen(
                [*command, f"--user-data-dir={profile}", browser.url],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                yield browser
            finally:
                process.terminate()
                process.wait(timeout=10)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
