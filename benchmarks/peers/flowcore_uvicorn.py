# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore on uvicorn"
# tasks = ["T1", "T2a", "T2b", "T2c", "T3", "T4", "T5", "T6", "T7", "T8a", "T8b", "T9"]
# imports = "from flowcore import BaseAsyncOp, C, FlowStreamChunk"
# repo = ["flowcore", "flowcore-http[uvicorn]", "plugins/flowcore-openai"]
# settings = "http.server=uvicorn, with httptools and uvloop; no access log; ops send texts"
# ///
"""flowcore with the optional server."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from flowcore_flows import serve

    serve(sys.argv[1], "http.server=uvicorn")
