# /// script
# dependencies = ["granian[uvloop]==2.8.7"]
# [tool.bench]
# title = "limit: raw ASGI on granian"
# tasks = ["T1", "T2a", "T2b", "T2c", "T4", "T6", "T7", "T8a"]
# settings = "one worker, uvloop, HTTP/1 only; no access log"
# ///
"""What granian costs without a framework."""

from __future__ import annotations

import sys
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    Granian(
        "raw_asgi:app",
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
    ).serve()
