"""The clients of the soak test: each does one thing after the other, chosen at random."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.soak_exchange import SECONDS, Exchange
from benchmarks.soak_upstream import ENDS, FAULTS, ONCE, pieces_of

GRACE = 3.0
"""What ``soak.yaml`` gives readers to come back."""


@dataclass
class Notes:
    """What the clients did, and what they found wrong.

    Attributes:
        done: How often each kind of visit came to its end.
        faults: What was wrong, the first hundred.
    """

    done: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    def wrong(self, text: str) -> None:
        if len(self.faults) < 100:
            self.faults.append(text)

    def expect(self, holds: object, text: str) -> None:
        if not holds:
            self.wrong(text)


class Client:
    """One client.

    Args:
        port: Port of the server.
        key: The key that the server asks for.
        seed: What its choices are made of.
        notes: What it does and finds.
    """

    def __init__(self, port: int, key: str, seed: str, notes: Notes) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"}
        self._rng = random.Random(seed)
        self._notes = notes
        self._doing = ""

    async def visit_until(self, end: float) -> None:
        """Make visits until that time, on the monotonic clock."""
        await asyncio.sleep(self._rng.random())
        while time.monotonic() < end:
            (visit,) = self._rng.choices(list(_VISITS), list(_VISITS.values()))
            name = self._doing = visit.__name__
            try:
                async with asyncio.timeout(SECONDS):
                    await visit(self)
                self._notes.done[name] += 1
            except Exception as error:  # noqa: BLE001 - each is a finding
                self._notes.wrong(f"{name}: {error!r}")
            await asyncio.sleep(self._rng.random() * 0.2)

    # --- what all visits share ---

    def _question(self, fault: str | None = None) -> str:
        if fault is None:
            fault = self._rng.choice(FAULTS) if self._rng.random() < 0.4 else "good"
        return f"{fault}:{self._rng.getrandbits(32)}:{self._rng.randint(1, 60)}"

    async def _ask(
        self, exchange: Exchange, question: str, flow: str = "", part: float = 1
    ) -> None:
        flow = flow or self._rng.choice(("ask", "ask_patient", "ask_threads"))
        body = json.dumps({"key": question}).encode()
        await exchange.send("POST", f"/{flow}", body, self._headers, part)

    def _check(self, question: str, *parts: Exchange) -> None:
        """Check that a stream, which may have come in parts, told the truth to its end."""
        last = parts[-1]
        fault = question.partition(":")[0]
        whole = "".join(pieces_of(question))
        text = "".join(part.text for part in parts)
        ids = [number for part in parts for number in part.ids]
        told = f"{self._doing} {question}: {parts}"
        self._notes.expect(last.done and not last.cut, f"not told to its end, {told}")
        self._notes.expect(ids == list(range(1, len(ids) + 1)), f"events {ids}, {told}")
        if fault == "good" or fault in ONCE:
            right = text == whole and not last.error
        else:
            right = whole.startswith(text) and last.error.startswith("upstream_")
            # A reset may overtake what was sent before it.
            if fault in ENDS and fault != "reset":
                right = right and text == "".join(
                    pieces_of(question)[: len(pieces_of(question)) // 2]
                )
        self._notes.expect(right, f"{text!r} instead of {whole!r}, {told}")

    # --- visits ---

    async def read_all(self) -> None:
        question = self._question()
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, question)
            await exchange.follow()
            self._check(question, exchange)

    async def read_slowly(self) -> None:
        question = self._question()
        async with Exchange(self._port, 4096) as exchange:
            await self._ask(exchange, question)
            await exchange.follow(size=128, pause=0.01)
            self._check(question, exchange)

    async def leave(self) -> None:
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, self._question())
            await exchange.follow(self._rng.randint(0, 20))

    async def reset(self) -> None:
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, self._question())
            await exchange.follow(self._rng.randint(0, 20), 256)
            exchange.reset()

    async def leave_early(self) -> None:
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, self._question(), part=self._rng.random())
            await asyncio.sleep(self._rng.random() * 0.1)
            if self._rng.random() < 0.5:
                exchange.reset()

    async def stall(self) -> None:
        async with Exchange(self._port, 4096) as exchange:
            await exchange.send("POST", "/flood", b"{}", self._headers)
            await exchange.next(1024)
            await asyncio.sleep(8)
            await exchange.read()
            self._notes.expect(exchange.cut, "a client that did not read was not cut off")

    async def resume(self) -> None:
        question = self._question()
        async with Exchange(self._port) as first:
            await self._ask(first, question, "ask_patient")
            await first.follow(self._rng.randint(1, 30))
        if first.done:
            self._check(question, first)
            return
        left_at = time.monotonic()
        late = self._rng.random() < 0.2
        await asyncio.sleep(GRACE * (1.5 if late else self._rng.random() * 0.3))
        last = first.ids[-1] if first.ids else 0
        headers = {**self._headers, "Last-Event-ID": f"{first.run_id}-{last}"}
        async with Exchange(self._port) as second:
            if self._rng.random() < 0.5:
                await second.send("GET", f"/runs/{first.run_id}/events", b"", headers)
            else:
                await second.send("POST", "/ask_patient", b"{}", headers)
            await second.next()
            # A machine that is busy makes everybody late.
            late = time.monotonic() - left_at > GRACE * 0.9
            await second.follow()
        if late and second.error == "cancelled":
            self._notes.expect(second.done, f"a late reader of {question} was not told the end")
            return
        self._check(question, first, second)

    async def cancel(self) -> None:
        question = self._question("good")
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, question)
            await exchange.follow(self._rng.randint(1, 10))
            self._notes.expect(exchange.status == 200, f"{question}: {exchange.status}")
            async with Exchange(self._port) as other:
                await other.send("POST", f"/runs/{exchange.run_id}/cancel", b"", self._headers)
                about = await other.read()
            self._notes.expect(other.status == 200, f"cancel: {other.status} {about!r}")
            await exchange.follow()
            if exchange.error == "cancelled":
                self._notes.expect(exchange.done, f"no end mark after a cancellation, {question}")
                return
            self._check(question, exchange)

    async def ask_whole(self) -> None:
        question = self._question()
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, question, "ask_whole")
            answer = json.loads(await exchange.read())
        fault = question.partition(":")[0]
        if fault == "good" or fault in ONCE:
            right = answer.get("answer") == "".join(pieces_of(question))
        else:
            right = exchange.status in {502, 504} and answer["code"].startswith("upstream_")
        self._notes.expect(right, f"{question}: {exchange.status} {answer}")

    async def leave_whole(self) -> None:
        async with Exchange(self._port) as exchange:
            await self._ask(exchange, self._question(), "ask_whole")
            await asyncio.sleep(self._rng.random())

    async def ask_wrongly(self) -> None:
        key = self._headers
        status, method, path, body, headers = self._rng.choice(
            [
                (400, "POST", "/ask", b"{not json", key),
                (400, "POST", "/ask", b"[" * 10_000, key),
                (401, "POST", "/ask", b"{}", {}),
                (401, "POST", "/ask", b"{}", {"Authorization": "Bearer wrong"}),
                (401, "GET", f"/runs/{'0' * 32}", b"", {}),
                (404, "POST", "/unknown", b"{}", key),
                (404, "GET", f"/runs/{'0' * 32}", b"", key),
                (404, "POST", "/ask", b"{}", {**key, "Last-Event-ID": f"{'0' * 32}-1"}),
                (405, "GET", "/ask", b"", key),
                (413, "POST", "/ask", b" " * 30_000, key),
                (415, "POST", "/ask", b"{}", {**key, "Content-Type": "text/plain"}),
                (422, "POST", "/ask", b"[]", key),
            ]
        )
        async with Exchange(self._port) as exchange:
            await exchange.send(method, path, body, headers)
            problem = json.loads(await exchange.read())
        right = exchange.status == status == problem["status"]
        self._notes.expect(right, f"{status} {method} {path}: {exchange.status} {problem}")


_VISITS: dict[Callable[[Client], Awaitable[None]], int] = {
    Client.read_all: 20,
    Client.read_slowly: 8,
    Client.leave: 12,
    Client.reset: 12,
    Client.leave_early: 8,
    Client.stall: 2,
    Client.resume: 12,
    Client.cancel: 6,
    Client.ask_whole: 6,
    Client.leave_whole: 4,
    Client.ask_wrongly: 10,
}
"""How often each kind of visit is made, in proportion."""
