"""A flow: a tree of ops with a name, a description and the shape of its inputs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flowcore.errors import ConfigError, FlowcoreError, InputError
from flowcore.expression import Hint, compile_expression, no_hint
from flowcore.input_schema import InputField, InputSchema
from flowcore.limits import FlowDeadlines
from flowcore.op import Op
from flowcore.op_tree import check_tree, perform, places
from flowcore.registry import Registry
from flowcore.run import Run
from flowcore.user_op import UserOp

FLOW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


_MAX_GRACE_SECONDS = 86_400.0


class Grace(BaseModel):
    """A run goes on for a while without a reader, who may come back.

    Attributes:
        grace: How long, in seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace: float = Field(gt=0, le=_MAX_GRACE_SECONDS)


class FlowSettings(BaseModel):
    """The config entry of one flow.

    Attributes:
        flow_content: The expression.
        stream: Whether the flow answers with a stream of chunks.
        description: Shown in OpenAPI and listings.
        input_schema: The fields of its inputs, by name; other fields are passed on.
        deadlines: ``first_chunk``, ``idle`` and ``total`` where they differ from those of the app.
        on_disconnect: What becomes of a streamed run whose client has left: it is cancelled at
            once, or after so many seconds in which nobody has come back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flow_content: str = Field(examples=["MyOp()"])
    stream: bool = False
    description: str = ""
    input_schema: dict[str, InputField] = Field(default_factory=dict[str, InputField])
    deadlines: FlowDeadlines = Field(default_factory=FlowDeadlines)
    on_disconnect: Literal["cancel"] | Grace = "cancel"

    @field_validator("on_disconnect", mode="before")
    @classmethod
    def _is_cancel_or_grace(cls, value: object) -> object:
        # One message instead of one for each of the two forms.
        if value == "cancel" or isinstance(value, Grace):
            return value
        if isinstance(value, dict) and [*cast("dict[object, object]", value)] == ["grace"]:
            seconds = cast("dict[str, object]", value)["grace"]
            if isinstance(seconds, int | float) and 0 < seconds <= _MAX_GRACE_SECONDS:
                return Grace(grace=seconds)
        raise ValueError(
            "write `cancel`, or `{grace: SECONDS}` with more than 0 and at most "
            f"{_MAX_GRACE_SECONDS:g} seconds"
        )


class Flow:
    """A flow that is ready to run: made once, its ops copied for each run.

    Args:
        name: Name of the flow: letters, digits, ``_``, ``-`` and ``.``.
        op: The op, or ops joined by operators.
        stream: Whether the flow answers with a stream of chunks.
        description: Shown in OpenAPI and listings.
        input_schema: The fields of its inputs, by name; other fields are allowed as well.
        deadlines: Those that differ from the deadlines of the app.
        on_disconnect: What becomes of a streamed run whose client has left: ``"cancel"``, or a
            :class:`Grace`.
        language: Language of the prompts.

    Raises:
        ConfigError: If the name, a prompt file or the input schema is wrong.
    """

    def __init__(
        self,
        name: str,
        op: Op,
        *,
        stream: bool = False,
        description: str = "",
        input_schema: Mapping[str, InputField] | None = None,
        deadlines: FlowDeadlines | None = None,
        on_disconnect: Literal["cancel"] | Grace = "cancel",
        language: str = "",
    ) -> None:
        if not FLOW_NAME.fullmatch(name):
            fitting = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip("-.")[:128]
            guess = f"; did you mean {fitting!r}?" if fitting.strip("_") else ""
            raise ConfigError(
                f"flow name {name!r}: use letters, digits, '_', '-' and '.', beginning with a "
                f"letter or digit, at most 128{guess}"
            )
        self.name = name
        self.op = op
        self.stream = stream
        self.description = description
        self.deadlines = deadlines or FlowDeadlines()
        self.on_disconnect: Literal["cancel"] | Grace = on_disconnect
        try:
            check_tree(op)
            self._inputs = InputSchema(name, input_schema or {})
            for _, part in self.walk():
                if isinstance(part, UserOp):
                    part.load_prompts(language)
        except InputError as error:
            message = str(error).replace("invalid input", "a default in the input_schema is wrong")
            raise ConfigError(message) from None
        except FlowcoreError as error:
            raise ConfigError(f"flow {name!r}: {error}") from error

    @classmethod
    def compile(
        cls,
        name: str,
        settings: FlowSettings,
        ops: Registry[Op],
        *,
        language: str = "",
        origin: str = "",
        hint: Hint = no_hint,
    ) -> Self:
        """Make a flow from its config entry.

        Args:
            name: Name of the flow.
            settings: Its config entry.
            ops: The op classes that its expression may name.
            language: Language of the prompts.
            origin: Where the expression stands, for messages.
            hint: Says what is known about an op that nobody registered.

        Raises:
            ConfigError: If the name, the expression, a prompt file or the input schema is wrong.
        """
        op = compile_expression(settings.flow_content, flow=name, ops=ops, origin=origin, hint=hint)
        try:
            return cls(
                name,
                op,
                stream=settings.stream,
                description=settings.description,
                input_schema=settings.input_schema,
                deadlines=settings.deadlines,
                on_disconnect=settings.on_disconnect,
                language=language,
            )
        except ConfigError as error:
            raise ConfigError(str(error), origin) from error

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}: {', '.join(op.name for _, op in self.walk())}>"

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the inputs, an object."""
        return self._inputs.json_schema

    def validate(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs with their defaults filled in.

        Raises:
            InputError: If they do not fit; all faults are listed.
        """
        return self._inputs.validate(inputs)

    def walk(self) -> Iterator[tuple[int, Op]]:
        """Yield all ops of the flow, each with its depth, in the order written."""
        return ((place.count("."), op) for place, op in places(self.op))

    def execute(self, run: Run) -> Awaitable[object]:
        """Return what runs the flow's ops, on copies that belong to ``run``."""
        return perform(self.op, run)
