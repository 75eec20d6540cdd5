"""The interface of a service: what `backend: http` and its like start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from flowcore.app import FlowApp


class ServiceSettings(BaseModel):
    """Settings of a service: the config section that bears the service's name.

    A service subclasses this with the keys that it understands; all others are refused with a
    suggestion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseService(ABC):
    """Makes the flows of an app reachable, until it is told to stop.

    Args:
        settings: The validated config section of the service.
    """

    Settings: ClassVar[type[ServiceSettings]] = ServiceSettings

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, app: FlowApp) -> None:
        """Open ``app`` in an event loop of the service's choice and serve until stopped.

        Called in the main thread, which is where signal handlers may be set.

        Raises:
            ConfigError: If the service cannot start, such as a port in use.
        """
