"""What `flowcore doctor` has found out about one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from flowcore.config import FlowConfig

Level = Literal["ok", "info", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis. It holds no key and no password.

    Attributes:
        section: Under which heading it stands: one of flowcore's, such as ``"models"`` and
            ``"limits"``, or any other.
        name: What it is about, such as ``"http.port"``.
        text: How that is.
        level: ``problem`` for what keeps the service from doing its work, ``warning`` for what may
            surprise, ``ok`` for what was checked, ``info`` for what is only told.
        advice: What to do about a problem or a warning.
        origin: Where a value comes from, such as ``"my.yaml:5"``.
    """

    section: str
    name: str
    text: str
    level: Level = "info"
    advice: str = ""
    origin: str = ""

    @classmethod
    def of_setting(
        cls, config: FlowConfig, path: Sequence[str], value: Any, unit: str = ""
    ) -> Self:
        """Return what the section ``limits`` tells of a setting.

        Args:
            config: The configuration.
            path: Where the setting stands in it.
            value: Its value, be it from there or the default; None for no limit.
            unit: Of the value, such as ``"s"``.
        """
        if value is None:
            text, unit = "no limit", ""
        else:
            text = f"{value:,}" if isinstance(value, int) else f"{value:g}"
        origin = config.origins.get(tuple(path), "default")
        return cls("limits", ".".join(path), f"{text} {unit}".rstrip(), origin=origin)
