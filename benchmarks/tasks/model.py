"""TM: a model inside the process, through a flow and HTTP, beside its engine alone."""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Load, texts
from benchmarks.server import MeasurementError, Server
from benchmarks.sockets import ANSWER_SECONDS, ask
from benchmarks.task import Figure, Target

TOKENS = {1: 48, 8: 16}
"""Length of a reply, by the number of questions at once."""

APART = 0.004
"""Seconds between two questions. In the same moment, chance would say which prompts are read
together; so the engine has begun to read the first when the others come, and reads these next."""

_ANSWER = b'"chunk_type":"answer"'
_END = b"data:[DONE]\n\n"


@dataclass
class Reply:
    """One reply, as its reader saw it; times by ``time.perf_counter``.

    Attributes:
        asked: When the question was to be sent; who sends it later, waits all the longer.
        first: When the first token came.
        last: When the last one came.
        tokens: How many came.
        text: What they say.
    """

    asked: float
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    text: str = ""


class Model:
    """Questions to the engine by hand, through the plugin, and over HTTP, in turn.

    All three are asked in the server's process, whose engine is the same each time.
    """

    id = "TM"
    title = "a model inside the process: over HTTP beside its engine alone, 1 question and 8"
    figures = (
        Figure("rate1", "1: over HTTP", "tokens/s", "higher"),
        Figure("ratio1", "1: of the engine's", "times", "higher"),
        Figure("plugin1", "1: without HTTP", "times", "higher"),
        Figure("late1", "1: first token later by", "ms", "lower"),
        Figure("rate8", "8: over HTTP", "tokens/s", "higher"),
        Figure("ratio8", "8: of the engine's", "times", "higher"),
        Figure("plugin8", "8: without HTTP", "times", "higher"),
        Figure("late8", "8: first token later by", "ms", "lower"),
    )
    reference = "flowcore_model"
    targets = tuple(
        target
        for peer in ("flowcore_model", "flowcore_model_one_core", "flowcore_model_all_cores")
        for target in (
            Target("ratio1", 0.95, peer=peer),
            Target("late1", 10.0, peer=peer),
            Target("ratio8", 0.95, peer=peer),
            Target("late8", 10.0, peer=peer),
        )
    )
    upstream = False

    def measure(self, server: Server, load: Load) -> Mapping[str, float]:
        """Check that all three say the same; then ask in turn."""
        by_hand, over_http = _asked(server, load, "engine", 1), _asked_over_http(server, 1)
        _asked(server, load, "plugin", 8)  # its threads start
        if by_hand[0].text != over_http[0].text:
            raise MeasurementError(f"not the same: {by_hand[0].text!r}, {over_http[0].text!r}")
        one = self._compare(server, load, 1, turns=8 if load.quick else 12)
        eight = self._compare(server, load, 8, turns=4 if load.quick else 6)
        return {f"{name}1": value for name, value in one.items()} | {
            f"{name}8": value for name, value in eight.items()
        }

    def _compare(
        self, server: Server, load: Load, questions: int, turns: int
    ) -> Mapping[str, float]:
        ways: list[Callable[[], Sequence[Reply]]] = [
            lambda: _asked(server, load, "engine", questions),
            lambda: _asked(server, load, "plugin", questions),
            lambda: _asked_over_http(server, questions),
        ]
        rates: list[list[float]] = [[], [], []]
        firsts: list[list[float]] = [[], [], []]
        for turn in range(turns):
            for way in (0, 1, 2) if turn % 2 else (2, 1, 0):
                replies = ways[way]()
                rates[way].append(_rate(replies))
                firsts[way].append(_first(replies))
        # The best of each way, for whatever else the machine does can only slow it.
        engine, plugin, over_http = map(max, rates)
        return {
            "rate": over_http,
            "ratio": over_http / engine,
            "plugin": plugin / engine,
            "late": (min(firsts[2]) - min(firsts[0])) * 1000,
        }


def _rate(replies: Sequence[Reply]) -> float:
    seconds = max(reply.last for reply in replies) - min(reply.asked for reply in replies)
    return sum(reply.tokens for reply in replies) / seconds


def _first(replies: Sequence[Reply]) -> float:
    return statistics.median(reply.first - reply.asked for reply in replies)


def _asked(server: Server, load: Load, way: str, questions: int) -> Sequence[Reply]:
    at = [number * APART for number in range(questions)]
    request = server.peer.request(way, at=at, tokens=TOKENS[questions])
    answer: Any = json.loads(load.answer(server, request))["answer"]
    return _checked([Reply(**reply) for reply in answer], questions)


def _asked_over_http(server: Server, questions: int) -> Sequence[Reply]:
    request = server.peer.request("ask", tokens=TOKENS[questions])
    bodies: dict[socket.socket, bytes] = {}
    replies: dict[socket.socket, Reply] = {}
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for number in range(questions):
            asked = began + number * APART
            time.sleep(max(0.0, asked - time.perf_counter()))
            sock = ask(server, request)
            replies[sock], bodies[sock] = Reply(asked), b""
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(ANSWER_SECONDS)
            if not ready:
                raise MeasurementError(f"no more tokens came; {server.log()}")
            for sock in (key.fileobj for key, _ in ready):
                assert isinstance(sock, socket.socket)
                data = sock.recv(65536)
                now = time.perf_counter()
                if _ANSWER in data:
                    reply = replies[sock]
                    reply.first = reply.first or now
                    reply.last = now
                bodies[sock] += data
                if not data or _END in bodies[sock][-100:]:
                    selector.unregister(sock)
                    sock.close()
    for sock, reply in replies.items():
        found = texts(bodies[sock])
        reply.tokens, reply.text = len(found), "".join(found)
    return _checked(list(replies.values()), questions)


def _checked(replies: Sequence[Reply], questions: int) -> Sequence[Reply]:
    # A token may be a part of a character, and then it comes with the next one.
    least = TOKENS[questions] * 0.9
    if len(replies) != questions or any(reply.tokens < least for reply in replies):
        raise MeasurementError(f"not all of the replies came: {replies}")
    return replies


TASK = Model()
