"""The interface of a service: what `backend: http` and its like start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from flowcore.errors import ConfigError
from flowcore.schema import FlowResponse

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.reload.handover import Handover


class ServiceSettings(BaseModel):
    """Settings of a service: the config section that bears the service's name.

    A service subclasses this with the keys that it understands; all others are refused with a
    suggestion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class FlowClient(Protocol):
    """What reaches the flows of a server that runs elsewhere."""

    async def list_endpoints(self) -> dict[str, Any]:
        """Return the server's OpenAPI document."""
        ...

    async def execute_flow(self, flow: str, /, **inputs: Any) -> FlowResponse:
        """Run a flow that is not streamed."""
        ...

    def execute_stream_flow(self, flow: str, /, **inputs: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Run a flow that is streamed; each chunk has ``type``, ``content`` and ``metadata``."""
        ...


@runtime_checkable
class TracingClient(FlowClient, Protocol):
    """A client that can ask what the ops of a run do."""

    def trace_stream_flow(self, flow: str, /, **inputs: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Run a flow as ``execute_stream_flow`` does, and tell when its ops start and end.

        Of that it tells among the chunks, with the type ``op`` and the fields of an
        :class:`OpEvent` as ``content``.
        """
        ...


class BaseService(ABC):
    """Makes the flows of an app reachable, until it is told to stop.

    Args:
        settings: The validated config section of the service.
    """

    Settings: ClassVar[type[ServiceSettings]] = ServiceSettings
    overlaps: ClassVar[bool] = False
    """Whether :meth:`run_in_turn` can begin while another process still serves."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, app: FlowApp) -> None:
        """Open ``app`` in an event loop of the service's choice and serve until stopped.

        Called in the main thread, which is where signal handlers may be set.

        Raises:
            ConfigError: If the service cannot start, such as a port in use.
        """

    def check(self, app: FlowApp) -> None:  # noqa: B027 - most services take any app
        """Check that the service can serve ``app``, without starting; for `flowcore check`.

        Raises:
            ConfigError: If it cannot.
        """

    def run_in_turn(self, app: FlowApp, handover: Handover) -> None:
        """Do as :meth:`run`, as one of the processes of `flowcore serve --reload`.

        By default it is :meth:`run`, after the process before has ended by SIGTERM.

        Args:
            app: The app.
            handover: Joins this process with the one before and the one after it.

        Raises:
            ConfigError: If the service cannot start.
        """
        handover.answer_by_signal()
        handover.serving()
        self.run(app)

    @classmethod
    def connect(
        cls, url: str, api_key: str | None = None
    ) -> AbstractAsyncContextManager[FlowClient]:
        """Return a client for a service of this kind; by default there is none.

        For ``flowcore call --trace``, it has to be a :class:`TracingClient`.

        Args:
            url: Address of the server; its scheme is the service's name.
            api_key: Key to present to it, or None.

        Raises:
            ConfigError: If services of this kind have no client.
        """
        del api_key
        raise ConfigError(f"{cls.__name__} has no client for {url!r}")
