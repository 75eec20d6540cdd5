"""Running a flow for each row of a file, so that it can be killed at any moment and go on."""

from __future__ import annotations

from flowcore.batch.report import BatchReport
from flowcore.batch.running import run_batch

__all__ = ["BatchReport", "run_batch"]
