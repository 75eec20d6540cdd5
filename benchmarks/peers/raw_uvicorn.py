# /// script
# dependencies = ["uvicorn[standard]==0.54.0"]
# [tool.bench]
# title = "limit: raw ASGI on uvicorn"
# tasks = ["T1", "T2a", "T2b", "T2c", "T4", "T6", "T7", "T8a"]
# settings = "uvicorn[standard]: uvloop, httptools; access log off"
# ///
"""What uvicorn costs without a framework."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from raw_asgi import app

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
