# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore, chunks made by the op"
# tasks = ["T1"]
# repo = ["flowcore", "flowcore-http", "plugins/flowcore-openai"]
# settings = "as flowcore, but the op makes a FlowStreamChunk of each text"
# ///
"""flowcore, where the op makes each chunk itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from flowcore_flows import serve

    serve(sys.argv[1], burst="BurstOfChunksOp()")
