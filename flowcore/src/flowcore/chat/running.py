"""A whole conversation, from the first line to the last."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from flowcore.app import FlowApp
from flowcore.calling import connected, described_flows
from flowcore.chat.partner import AppPartner, Partner, ServerPartner
from flowcore.chat.plain import PlainScreen
from flowcore.chat.session import COMMANDS, Session
from flowcore.errors import ConfigError
from flowcore.interruption import run_until_interrupt


def chat_here(app: FlowApp, flow: str | None, inputs: Mapping[str, str]) -> int:
    """Converse with a flow of this process.

    Args:
        app: Has the flow; it is opened.
        flow: Name of the flow; by default the first that streams and takes a question.
        inputs: Its other inputs, as texts.

    Returns:
        How many questions got no whole answer; 0 in a terminal, where the user has seen it.

    Raises:
        FlowcoreError: If there is no such flow, or the app cannot be opened.
    """

    @asynccontextmanager
    async def partner() -> AsyncGenerator[Partner]:
        async with app:
            yield AppPartner(app)

    return _converse(partner, flow, inputs)


def chat_with_server(app: FlowApp, url: str, flow: str | None, inputs: Mapping[str, str]) -> int:
    """Converse with a flow of the server at ``url``, as :func:`chat_here`.

    The key of a server that asks for one is taken from ``FLOWCORE_API_KEY``.

    Raises:
        FlowcoreError: If the server cannot be reached, refuses, or has no such flow.
    """

    @asynccontextmanager
    async def partner() -> AsyncGenerator[Partner]:
        async with connected(app, url) as client:
            yield ServerPartner(client, described_flows(await client.list_endpoints()))

    return _converse(partner, flow, inputs)


def _converse(
    partner: Callable[[], AbstractAsyncContextManager[Partner]],
    flow: str | None,
    inputs: Mapping[str, str],
) -> int:
    if sys.stdin is None:  # it was closed by who started the program
        raise ConfigError("there is no standard input to read questions from")

    async def converse() -> int:
        async with partner() as there:
            if not _is_terminal():
                session = Session(there, PlainScreen(), flow, inputs)
                await session.run()
                return session.failures
            from flowcore.chat.keyboard import Keyboard  # noqa: PLC0415 - a pipe needs neither
            from flowcore.chat.terminal_screen import TerminalScreen  # noqa: PLC0415

            usages = [(f"/{c.name} {c.argument}".rstrip(), c.help) for c in COMMANDS]
            screen = TerminalScreen(Keyboard(usages, there.flows))
            with screen.taking_the_log():
                await Session(there, screen, flow, inputs).run()
            return 0

    return run_until_interrupt(converse)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
