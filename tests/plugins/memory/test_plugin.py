from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from flowcore import ConfigError, FlowApp, hookimpl
from flowcore_memory.settings import MemoryVectorStoreSettings

README = Path(__file__).parents[3] / "plugins" / "flowcore-memory" / "README.md"


def test_the_entry_point_names_the_plugin():
    (entry,) = entry_points(group="flowcore", name="memory")

    assert entry.value == "flowcore_memory"
    assert entry.dist is not None
    assert entry.dist.name == "flowcore-memory"


async def test_an_op_of_a_flow_uses_the_configured_store_as_the_readme_shows(model):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    plugin = ModuleType("remembering")
    exec(code, vars(plugin))

    @hookimpl
    def flowcore_register_ops(ops):
        ops.add(plugin.RememberOp)

    @hookimpl
    def flowcore_register_embedding_models(embedding_models):
        embedding_models.add(type(model), "trigrams")

    vars(plugin).update(
        flowcore_register_ops=flowcore_register_ops,
        flowcore_register_embedding_models=flowcore_register_embedding_models,
    )
    config = {
        "flow": {"remember": {"flow_content": "RememberOp()"}},
        "embedding_model": {"default": {"backend": "trigrams", "model_name": "trigrams"}},
        "vector_store": {"default": {"backend": "memory", "metric": "dot"}},
    }

    async with FlowApp(config, plugins=[plugin]) as app:
        assert (await app.execute("remember")).answer == ["Tea is steeped."]
        assert (await app.execute("remember")).answer == ["Tea is steeped."]


def test_an_unknown_key_stops_the_start_with_the_known_ones_named():
    config = {"vector_store": {"default": {"backend": "memory", "metrik": "dot"}}}

    with pytest.raises(ConfigError, match=r"metrik.*did you mean 'metric'"):
        FlowApp(config)


def test_numpy_is_imported_by_the_first_nodes_and_not_by_the_plugin():
    program = """
import sys, anyio
import flowcore_memory
from flowcore_memory.store import MemoryVectorStore
from flowcore_memory.settings import MemoryVectorStoreSettings
from flowcore import VectorNode

store = MemoryVectorStore(MemoryVectorStoreSettings(), None)
before = "numpy" in sys.modules
anyio.run(store.async_insert, [VectorNode(vector=[1.0])])
print(before, "numpy" in sys.modules)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["False", "True"]


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match="'cosine', 'dot' or 'euclidean'"):
        MemoryVectorStoreSettings.model_validate({"metric": "manhattan"})


def test_params_are_refused_as_the_store_has_none():
    with pytest.raises(ValidationError, match="write 'metric' beside 'backend'"):
        MemoryVectorStoreSettings.model_validate({"params": {"metric": "dot"}})
