"""How far a batch is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class BatchReport:
    """How far a batch is; it is filled in as the batch goes on.

    Attributes:
        total: How many rows the input has; None where that is not known yet.
        answered_before: How many rows had been answered by earlier starts.
        failed_before: How many rows had failed in earlier starts, and are not tried again.
        answered: How many rows were answered.
        failed: How many rows failed.
        usage: The sums of what the runs reported in ``usage`` chunks, by name.
        seconds: How long it has taken.
        failures: File of the rows that failed.
    """

    total: int | None = None
    answered_before: int = 0
    failed_before: int = 0
    answered: int = 0
    failed: int = 0
    usage: dict[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    failures: Path = Path()

    @property
    def done(self) -> int:
        """How many rows have a result, of earlier starts too."""
        return self.answered_before + self.failed_before + self.answered + self.failed

    @property
    def left(self) -> int | None:
        """How many rows have no result; None where that is not known yet."""
        return None if self.total is None else self.total - self.done

    @property
    def tokens(self) -> int:
        """How many tokens the runs reported, as far as they did."""
        parts = self.usage.get("prompt_tokens", 0) + self.usage.get("completion_tokens", 0)
        return int(self.usage.get("total_tokens") or parts)
