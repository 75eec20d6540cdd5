"""A plugin to copy: one op that greets, and the hook that makes it known."""

from __future__ import annotations

from flowcore import BaseAsyncOp, Op, Registrar, hookimpl


class HelloOp(BaseAsyncOp):
    """Answers with a greeting for the input ``name``."""

    async def async_execute(self) -> None:
        """Greet."""
        self.context.response.answer = f"Hello {self.context.get('name', 'world')}"


@hookimpl
def flowcore_register_ops(ops: Registrar[Op]) -> None:
    """Register the ops of this plugin."""
    ops.add(HelloOp)
