# /// script
# dependencies = ["flowllm==0.2.0.9", "uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "FlowLLM 0.2.0.9, with its logs"
# tasks = ["T4"]
# settings = "as it comes: uvicorn[standard]: uvloop, httptools; access log on, log level INFO"
# ///
"""FlowLLM with the logs that it has no setting to turn off."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.environ["BENCH_LOGS"] = "on"
    runpy.run_path(str(Path(__file__).with_name("flowllm.py")), run_name="__main__")
