"""What flowcore-http knows of the inside of uvicorn, so that an upgrade is looked at.

If this fails after an upgrade, compare the two versions of what is named, see whether
`flowcore_http.uvicorn_http1` still fits, and write down the new digest.
"""

from __future__ import annotations

import hashlib
import inspect

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from flowcore_http.connection import Connection
from flowcore_http.uvicorn_http1 import Http1Protocol

DIGESTS: dict[object, str] = {
    FlowControl: "126debcdaa894c83",
    HttpToolsProtocol: "18fdf324b11bf160",
    ServerState: "f2260fbf10154746",
}

REPLACED = {
    *("connection_made", "connection_lost", "data_received"),
    *("pause_writing", "resume_writing"),
    *("on_header", "on_headers_complete", "on_body", "on_message_complete"),
    *("on_message_begin", "on_url"),
}


def digest(thing: object) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", DIGESTS, ids=lambda thing: thing.__name__)
def test_what_is_extended_is_what_was_read(thing):
    assert digest(thing) == DIGESTS[thing], f"{thing.__qualname__} of uvicorn has changed"


def test_what_is_replaced_is_there():
    ours = {*vars(Http1Protocol), *vars(Connection)}
    shared = {name for name, value in vars(HttpToolsProtocol).items() if inspect.isfunction(value)}

    assert (ours & shared) - {"__init__"} == REPLACED
