# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore with uvloop"
# tasks = ["T1", "T2b", "T3", "T4"]
# imports = "from flowcore import BaseAsyncOp, C, FlowStreamChunk"
# repo = ["flowcore", "flowcore-http[uvloop]", "plugins/flowcore-openai"]
# settings = "the default server, Hypercorn, with uvloop installed; no access log"
# ///
"""flowcore with its default server on uvloop."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from flowcore_flows import serve

    serve(sys.argv[1])
