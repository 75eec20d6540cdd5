"""Every error that flowcore raises by itself.

    FlowcoreError
    ├── ConfigError               a file, a variable or an argument says something wrong
    │   └── ExpressionError       a ``flow_content`` that cannot be compiled
    ├── RegistryError
    │   ├── UnknownNameError      nothing is registered under this name
    │   └── DuplicateNameError    two parties claim one name
    ├── PluginError               a plugin could not be loaded, or is not installed
    ├── OpError
    │   ├── OpDefinitionError     an op class or its parameters are wrong
    │   └── PromptError           a prompt or its file is missing or malformed
    ├── InputError                the inputs of a run do not fit the flow's schema
    ├── BackendError              an LLM, embedding model or vector store failed
    ├── ChunkError                a chunk that may not or cannot be streamed
    ├── RunFailedError            an op reported a failure by emitting an error chunk
    ├── RunTimeoutError           the run missed one of its deadlines
    ├── RunCancelledError         the run was cancelled before its end
    ├── BatchError                the files of a batch cannot be used together
    ├── AppBusyError              as many runs as are allowed are running
    └── AppClosedError            the app is not open

Exceptions of user code are never wrapped: they leave a run as they were raised, with a note that
names the flow and the op.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MIN_PREFIX = 3
"""How many characters of a name are enough to guess the whole by its beginning."""
MAX_LISTED = 6
"""How many names a message lists where none of them is near."""
MAX_SHOWN = 500
"""How long a line may be that a message shows."""


class FlowcoreError(Exception):
    """Base of all errors that flowcore raises by itself."""

    code: str = "flowcore_error"
    """Stable identifier of the kind of error, for programs."""


class ConfigError(FlowcoreError):
    """The configuration says something wrong; the message names the place and the remedy.

    Args:
        message: What is wrong and what to do about it.
        origin: Where it was said, such as ``"my.yaml:12"`` or ``"command line"``.
    """

    code = "config_error"

    def __init__(self, message: str, origin: str = "") -> None:
        super().__init__(f"{origin}: {message}" if origin else message)
        self.origin = origin


class ExpressionError(ConfigError):
    """A ``flow_content`` cannot be compiled.

    Args:
        message: What is wrong and what to do about it.
        flow: Name of the flow.
        line: Line within the expression, counted from 1.
        column: Column within that line, counted from 1.
        source: The whole expression; the message shows the line with a caret.
        origin: Where the expression stands, such as ``"my.yaml:12"``.
    """

    code = "expression_error"

    def __init__(
        self, message: str, *, flow: str, line: int, column: int, source: str = "", origin: str = ""
    ) -> None:
        where = f"flow {flow!r}, line {line}, column {column}: {message}"
        lines = source.split("\n")
        if 0 < line <= len(lines):
            where += with_caret(lines[line - 1], column)
        super().__init__(where, origin)
        self.flow = flow
        self.line = line
        self.column = column


class RegistryError(FlowcoreError):
    """A name is missing from a registry or claimed twice."""

    code = "registry_error"


class UnknownNameError(RegistryError, LookupError):
    """Nothing is registered under this name; the message suggests the nearest known one."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        message = f"unknown {kind} {name!r}"
        if guess := did_you_mean(name, known):
            message += guess
        elif 0 < len(known) <= MAX_LISTED:
            message += f"; there {'is' if len(known) == 1 else 'are'} {', '.join(map(repr, known))}"
        if hint:
            message += f"; {hint}"
        elif not known:
            message += f"; no {kind} is registered"
        super().__init__(message)
        self.kind = kind
        self.name = name


class DuplicateNameError(RegistryError):
    """Two parties claim one name; the message names both."""

    code = "duplicate_name"


class PluginError(FlowcoreError):
    """A plugin could not be loaded, or the one that is needed is not installed."""

    code = "plugin_error"


class OpError(FlowcoreError):
    """An op class is not usable as written."""

    code = "op_error"


class OpDefinitionError(OpError, TypeError):
    """An op class, its parameters or its place in a flow are wrong.

    Args:
        message: What is wrong and what to do about it.
        parameter: The parameter whose value is wrong, where it is that.
    """

    code = "op_definition_error"

    def __init__(self, message: str, *, parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter


class PromptError(OpError, LookupError):
    """A prompt or its file is missing or malformed."""

    code = "prompt_error"


class InputError(FlowcoreError, ValueError):
    """The inputs of a run do not fit the flow's ``input_schema``.

    Args:
        flow: Name of the flow.
        errors: One mapping for each fault, with the keys ``loc`` (path to the field, a list),
            ``msg`` and ``type``. Input values are left out on purpose: they may be secrets.
    """

    code = "invalid_input"

    def __init__(self, flow: str, errors: Sequence[Mapping[str, Any]]) -> None:
        listed = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or '(input)'}: {e['msg']}" for e in errors
        )
        super().__init__(f"invalid input for flow {flow!r}: {listed}")
        self.flow = flow
        self.errors = list(errors)


class BackendError(FlowcoreError):
    """An LLM, an embedding model or a vector store failed.

    Args:
        message: Safe text for people: no keys, no traceback.
        code: Stable identifier such as ``"upstream_timeout"``.
        status: HTTP status of the upstream, where there was one.
        retry_after: Seconds that the upstream asked to wait, where it did.
    """

    code = "backend_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "backend_error",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class ChunkError(FlowcoreError, ValueError):
    """A chunk that cannot be streamed, such as a payload with no JSON form."""

    code = "chunk_error"


class RunFailedError(FlowcoreError):
    """An op reported a failure by emitting an error chunk.

    Args:
        message: Text of the error chunk.
        metadata: Metadata of the error chunk.
    """

    code = "run_failed"

    def __init__(self, message: str, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.metadata = dict(metadata or {})


class RunTimeoutError(FlowcoreError, TimeoutError):
    """The run missed one of its deadlines.

    Args:
        message: Which one, and the setting that says so.
        code: ``"first_chunk_timeout"``, ``"idle_timeout"`` or ``"total_timeout"``.
    """

    code = "timeout"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class RunCancelledError(FlowcoreError):
    """The run was cancelled before it came to its end."""

    code = "cancelled"


class BatchError(FlowcoreError):
    """A file of a batch cannot be used, or its results are those of something else."""

    code = "batch_error"


class AppBusyError(FlowcoreError):
    """As many runs as ``max_concurrent_runs`` allows are running; try again later."""

    code = "too_many_runs"


class AppClosedError(FlowcoreError):
    """The app is not open: enter it with ``async with`` (or ``with`` for the blocking twin)."""

    code = "app_closed"


def with_caret(line: str, column: int) -> str:
    """Return a line, for below a message, with a caret under a column, counted from 1.

    Nothing of a line that is blank or very long.
    """
    shown = line.expandtabs(1)
    if not shown.strip() or len(shown) > MAX_SHOWN:
        return ""
    return f"\n    {shown}\n    {' ' * (column - 1)}^"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    known = list(known)
    matches = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
    if not matches and len(name) >= MIN_PREFIX:
        matches = [each for each in known if each.lower().startswith(name.lower())]
    return f"; did you mean {matches[0]!r}?" if matches else ""
