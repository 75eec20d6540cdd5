from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from pydantic import ValidationError

from flowcore_memory.settings import MemoryVectorStoreSettings


def test_the_entry_point_names_the_plugin():
    (entry,) = entry_points(group="flowcore", name="memory")

    assert entry.value == "flowcore_memory"
    assert entry.dist is not None
    assert entry.dist.name == "flowcore-memory"


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
