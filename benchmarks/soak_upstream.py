"""The upstream of the soak test: it answers, or fails, as the key of each request says.

A key is ``fault:seed:length``. From it client and upstream make the same text, so that every byte
that arrives can be checked.
"""

from __future__ import annotations

import asyncio
import json
import random

from tests.plugins.openai.upstream import (
    DONE,
    EOF,
    HANG,
    RESET,
    Drip,
    Part,
    Reply,
    Request,
    Upstream,
    Wait,
    delta,
    document,
    event,
    finish,
    sse,
    status,
    usage,
)

PIECES = (
    "word ",
    "données ",
    "数据流 ",
    "line\n",
    "data: ",
    "[DONE] ",
    "\U0001f468‍\U0001f469 ",
    "\r",
    " ",
)
PACE = 0.1
"""Mean time between two pieces, in seconds."""

ONCE = {
    "503-once": status(503),
    "429-once": status(429, retry_after="0.05"),
    "reset-once": Reply((RESET,), status=0),
}
"""Faults that a retry gets over."""

REFUSALS = {"500": status(500), "401": status(401), "hang-at-first": sse(HANG)}

ENDS: dict[str, tuple[Part, ...]] = {
    "reset": (RESET,),
    "eof": (EOF,),
    "cut": (),
    "bad-json": (b"data: {not json\n\n", DONE),
    "error": (event({"error": {"message": "out of memory"}}), DONE),
    "hang": (HANG,),
    "comments": (Drip(b": still there\n\n", 0.1),),
}
"""What comes in the middle of an answer."""

FAULTS = (*ONCE, *REFUSALS, *ENDS)


def pieces_of(key: str) -> list[str]:
    """Return the pieces of the whole text that belongs to a key."""
    _, seed, length = key.split(":")
    rng = random.Random(int(seed))
    return [rng.choice(PIECES) for _ in range(int(length))]


class SoakUpstream(Upstream):
    """An upstream that forgets what it has answered."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: set[str] = set()
        self.on("soak", self._answer)
        self.on("count", self._count)

    def _answer(self, request: Request) -> Reply:
        self.requests.clear()
        key: str = request.json["messages"][-1]["content"]
        fault, seed, _ = key.split(":")
        if fault in ONCE and key not in self._refused:
            self._refused.add(key)
            return ONCE[fault]
        self._refused.discard(key)
        if fault in REFUSALS:
            return REFUSALS[fault]
        rng = random.Random(f"pace {seed}")
        pieces = pieces_of(key)
        if fault in ENDS:
            pieces = pieces[: len(pieces) // 2]
        parts: list[Part] = []
        for piece in pieces:
            parts += [event(delta(piece)), Wait(rng.random() * 2 * PACE)]
        if fault in ENDS:
            return sse(*parts, *ENDS[fault])
        return sse(*parts, finish(), usage(1, len(pieces)), DONE)

    def _count(self, _request: Request) -> Reply:
        # The one that asks is not counted.
        return document({"answering": self.answering - 1, "connections": self.open_connections - 1})


async def main() -> None:
    async with SoakUpstream() as upstream:
        print(json.dumps({"port": upstream.port}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
