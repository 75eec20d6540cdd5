"""The listening socket: where it can be, and what it says where it cannot."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from flowcore import ConfigError, FlowApp
from flowcore_http import HttpSettings
from flowcore_http.listener import check_host, listen, url_of

HEALTH = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
SERVE_AS_NOBODY = """
import os, sys
from flowcore import ConfigError
from flowcore_http import HttpSettings
from flowcore_http.listener import listen
listen(HttpSettings(port=0)).close()  # all that this needs is loaded now
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    listen(HttpSettings(port=int(sys.argv[1]))).close()
except ConfigError as error:
    print(error)
else:
    print("listening")
"""


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_the_url_of_a_socket_is_one_that_clients_take(host, url):
    with listen(HttpSettings(host=host, port=0)) as sock:
        port = sock.getsockname()[1]

        assert url_of(sock, secure=False) == f"{url}{port}"
        assert url_of(sock, secure=True) == f"{url}{port}".replace("http", "https")


async def test_all_interfaces_of_ipv6_are_those_of_ipv4_too(serve):
    async with serve({}, host="::") as server:
        with anyio.fail_after(5):
            assert b"healthy" in await server.exchange(HEALTH)
            async with await anyio.connect_tcp("::1", server.port) as connection:
                await connection.send(HEALTH)
                assert (await connection.receive()).startswith(b"HTTP/1.1 200 ")


def test_a_port_in_use_is_told_with_a_way_out():
    with listen(HttpSettings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: .*choose another http\.port"):
            listen(HttpSettings(port=port))


def test_a_port_that_was_just_in_use_can_be_taken_again():
    with listen(HttpSettings(port=0)) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            first.setblocking(True)
            first.accept()[0].close()

    with listen(HttpSettings(port=port)) as second:
        assert second.getsockname()[1] == port


if sys.platform == "linux":

    def test_a_privileged_port_is_told_with_a_way_out():
        start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        process = subprocess.run(
            [sys.executable, "-c", SERVE_AS_NOBODY, "1"],
            capture_output=True,
            text=True,
            check=False,
        )

        expected = "ports below 1024 need privileges, choose another http.port\n"
        assert process.stderr == ""
        assert process.stdout == "listening\n" if start < 2 else process.stdout.endswith(expected)

    def test_connections_inherit_the_end_for_clients_that_read_nothing():
        with (
            listen(HttpSettings(port=0, write_timeout=1.5)) as sock,
            socket.create_connection(sock.getsockname()),
        ):
            sock.setblocking(True)
            with sock.accept()[0] as accepted:
                timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                no_delay = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        assert timeout == 1500
        assert no_delay


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no-such-host.invalid", "http.host: 'no-such-host.invalid' is not a host of this machine"),
        ("127.0.0.1.1", "http.host: '127.0.0.1.1' is not a host of this machine"),
        ("192.0.2.1", "cannot listen at 192.0.2.1, port 8002: "),
        ("x" * 64, "is not a host of this machine"),
    ],
)
def test_a_check_refuses_a_host_that_is_none_of_this_machine(host, said):
    with pytest.raises(ConfigError, match=r"^my\.yaml:2: ") as caught:
        check_host(HttpSettings(host=host), "my.yaml:2")

    assert said in str(caught.value)


def test_a_check_does_not_mind_that_the_port_is_in_use():
    with listen(HttpSettings(port=0)) as sock:
        check_host(HttpSettings(port=sock.getsockname()[1]), "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "no-such-host.invalid"}, "http.host: 'no-such-host.invalid'"),
        ({"certfile": "none.pem", "keyfile": "none.pem"}, "http.certfile, http.keyfile: "),
    ],
)
def test_the_service_checks_its_host_and_its_certificate(settings, said):
    app = FlowApp({"http": settings})

    with pytest.raises(ConfigError, match=said):
        app.service().check(app)
