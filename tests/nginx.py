"""nginx, run by the current user on a port from the kernel."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import reserved_port
from tests.tools import find_tool

PORT = "8080"
"""Stands in a configuration for the port that nginx gets."""

MAIN = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
{user}
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/site.conf;
}}
"""


@contextmanager
def running_nginx(folder: Path, site: str) -> Generator[int]:
    """Run nginx with a `server` block and what else may stand in a site's file.

    Args:
        folder: Where it keeps its files; it is made.
        site: The text of the file; it listens at `8080`, for which another port is put.

    Yields:
        The port.
    """
    program = find_tool("nginx", package="nginx (Debian: nginx-light)")
    folder.mkdir()
    with reserved_port() as port:
        # As root, its worker would become a user who may not enter the folder.
        user = f"user {getpass.getuser()};" if os.name == "posix" and os.geteuid() == 0 else ""
        site = site.replace(f"listen {PORT};", f"listen 127.0.0.1:{port};")
        (folder / "site.conf").write_text(site, encoding="utf-8")
        config, log = folder / "nginx.conf", folder / "error.log"
        config.write_text(MAIN.format(folder=folder, user=user), encoding="utf-8")
        process = subprocess.Popen([program, "-p", str(folder), "-e", str(log), "-c", str(config)])
        try:
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "nginx does not answer"
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", port), 1.0),
                ):
                    break
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=10)
