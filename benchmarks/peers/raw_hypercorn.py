# /// script
# dependencies = ["hypercorn==0.18.0", "uvloop==0.23.0"]
# [tool.bench]
# title = "limit: raw ASGI on Hypercorn"
# tasks = ["T1", "T2a", "T2b", "T2c", "T4", "T6", "T7", "T8a"]
# settings = "uvloop and a backlog of 2048, as flowcore; h11; no access log"
# ///
"""What Hypercorn costs without a framework, on the event loop that flowcore runs it on."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from raw_asgi import app

    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.backlog = 2048
    uvloop.run(serve(app, config))
