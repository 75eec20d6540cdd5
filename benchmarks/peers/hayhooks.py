# /// script
# dependencies = ["hayhooks==2.1.0", "uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "Hayhooks (untyped text)"
# tasks = ["T1", "T4", "T5"]
# imports = "from hayhooks import BasePipelineWrapper, create_app"
# settings = "uvicorn[standard]: uvloop, httptools; access log and tracing off, log level WARNING"
# format = "text"
# health = "/status"
# paths = {echo = "/echo/run", burst = "/burst/run"}
# ///
"""Hayhooks: a pipeline wrapper for each endpoint, which streams text without a type."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WRAPPERS = {
    "echo": """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    async def run_api_async(self, query: str) -> str:
        return query
""",
    "burst": """
from collections.abc import AsyncGenerator
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    async def run_api_async(self, query: str) -> AsyncGenerator:
        async def words():
            for n in range(1000):
                yield f"word {n} "
        return words()
""",
}

if __name__ == "__main__":
    for name, text in WRAPPERS.items():
        folder = Path("pipelines", name)
        folder.mkdir(parents=True)
        Path(folder, "pipeline_wrapper.py").write_text(text, encoding="utf-8")
    os.environ["HAYHOOKS_PIPELINES_DIR"] = str(Path("pipelines").resolve())
    os.environ["HAYHOOKS_TRACING_ENABLED"] = "false"
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
    os.environ["LOG"] = "WARNING"

    import uvicorn
    from hayhooks import create_app

    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
