"""``flowcore chat``: a conversation with a flow, in the terminal.

A :class:`~flowcore.chat.session.Session` joins a partner, which runs the flow here or on a server,
with a screen, which is a terminal or plain text.
"""

from __future__ import annotations
