"""What flowcore-http knows of the inside of uvicorn, so that an upgrade is looked at.

If this fails after an upgrade, compare the two versions of what is named, see whether
`flowcore_http.uvicorn_http1` and `flowcore_http.uvicorn_answer` still fit, and write down the new
digest.
"""

from __future__ import annotations

import hashlib
import inspect

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from flowcore_http.uvicorn_answer import Answer
from flowcore_http.uvicorn_http1 import Http1Protocol

DIGESTS: dict[object, str] = {
    FlowControl: "126debcdaa894c83",
    HttpToolsProtocol: "18fdf324b11bf160",
    RequestResponseCycle: "e67d470d435dcc1c",
    ServerState: "f2260fbf10154746",
}

REPLACED = {
    HttpToolsProtocol: {
        *("connection_made", "connection_lost", "data_received", "shutdown"),
        *("on_header", "on_headers_complete", "on_body", "on_message_complete"),
        "on_response_complete",
    },
    RequestResponseCycle: {"run_asgi", "send"},
}


def digest(thing: object) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", DIGESTS, ids=lambda thing: thing.__name__)
def test_what_is_extended_is_what_was_read(thing):
    assert digest(thing) == DIGESTS[thing], f"{thing.__qualname__} of uvicorn has changed"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Http1Protocol, HttpToolsProtocol), (Answer, RequestResponseCycle)]
)
def test_what_is_replaced_is_there(ours, theirs):
    shared = {name for name in vars(ours) if inspect.isfunction(vars(ours)[name])} & set(
        vars(theirs)
    )

    assert shared - {"__init__"} == REPLACED[theirs]
