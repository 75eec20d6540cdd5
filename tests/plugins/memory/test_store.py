from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from flowcore import BackendError, BaseEmbeddingModel, ModelSettings, VectorNode
from flowcore_memory.settings import MemoryVectorStoreSettings
from flowcore_memory.store import MemoryVectorStore


def node(node_id: str, *vector: float, **fields: Any) -> VectorNode:
    return VectorNode(unique_id=node_id, vector=list(vector) or None, **fields)


def ids(nodes: Sequence[VectorNode]) -> list[str]:
    return [n.unique_id for n in nodes]


async def test_a_text_finds_the_nearest_content(store):
    await store.async_insert(
        [
            node("tea", content="tea is steeped in hot water"),
            node("bread", content="bread is baked in an oven"),
            node("bike", content="a bicycle has two wheels"),
        ]
    )

    found = await store.async_search("hot tea in water", top_k=2)

    assert ids(found)[0] == "tea"
    assert len(found) == 2
    assert found[0].score > found[1].score
    assert found[0].content == "tea is steeped in hot water"
    assert found[0].workspace_id == "default"


async def test_contents_are_embedded_in_one_call_and_a_query_once(store, model):
    await store.async_insert(
        [node("a", content="x"), node("b", *[1.0] * 64), node("c", content="y")]
    )
    await store.async_search("z")

    assert model.calls == [["x", "y"], ["z"]]


async def test_a_vector_query_and_nodes_with_vectors_cost_no_embedding(store, model):
    await store.async_insert([node("a", 1, 0), node("b", 0, 1)])

    assert ids(await store.async_search([0.1, 1.0])) == ["b", "a"]
    assert model.calls == []


async def test_an_unknown_workspace_has_no_nodes_and_costs_no_embedding(store, model):
    assert await store.async_search("anything", "nowhere") == []
    assert await store.async_get(["a"], "nowhere") == []
    assert await store.async_list_workspace_nodes("nowhere") == []
    assert await store.async_delete(["a"], "nowhere") == 0
    await store.async_delete_workspace("nowhere")
    assert await store.async_list_workspace() == []
    assert model.calls == []


async def test_workspaces_do_not_see_each_other(store):
    await store.async_insert([node("a", 1, 0)], "one")
    await store.async_insert([node("a", 1, 0, 0), node("b", 0, 1, 0)], "two")

    assert await store.async_list_workspace() == ["one", "two"]
    assert ids(await store.async_search([1, 0], "one")) == ["a"]
    await store.async_delete_workspace("two")
    assert await store.async_list_workspace() == ["one"]
    assert (await store.async_get(["a"], "one"))[0].vector == [1, 0]


async def test_get_follows_the_asked_order_and_leaves_out_unknown_ids(store):
    await store.async_insert([node("a", 1), node("b", 2), node("c", 3)])

    assert ids(await store.async_get(["c", "x", "a"])) == ["c", "a"]


async def test_returned_nodes_are_copies(store):
    await store.async_insert([node("a", 1, 0, content="x", metadata={"tags": ["t"]})])

    for changed in [
        *await store.async_get(["a"]),
        *await store.async_search([1, 0]),
        *await store.async_list_workspace_nodes(),
    ]:
        changed.content = "changed"
        changed.vector[0] = 9.0
        changed.metadata["tags"].append("changed")
    kept = (await store.async_get(["a"]))[0]

    assert (kept.content, kept.vector, kept.metadata) == ("x", [1, 0], {"tags": ["t"]})
    assert kept.score is None


async def test_inserted_nodes_stay_the_callers(store):
    mine = node("a", content="x", metadata={"tags": []})
    await store.async_insert([mine], "w")
    mine.metadata["tags"].append("changed")
    mine.content = "changed"

    kept = (await store.async_get(["a"], "w"))[0]
    assert mine.vector is None
    assert mine.workspace_id == ""
    assert (kept.content, kept.metadata) == ("x", {"tags": []})


async def test_an_id_that_exists_is_refused_before_anything_is_embedded(store, model):
    await store.async_insert([node("a", 1, 0)])

    with pytest.raises(BackendError, match="node id 'a' exists already in workspace 'default'"):
        await store.async_insert([node("b", content="new"), node("a", content="again")])
    with pytest.raises(BackendError, match="node id 'c' stands twice"):
        await store.async_insert([node("c", content="new"), node("c", content="again")])
    assert ids(await store.async_list_workspace_nodes()) == ["a"]
    assert model.calls == []


@pytest.mark.parametrize("method", ["async_insert", "async_upsert"])
async def test_a_single_node_is_refused_as_it_is_no_list(store, method):
    with pytest.raises(TypeError, match=r"takes a list of nodes, such as \[node\]"):
        await getattr(store, method)(node("a", 1.0))


@pytest.mark.parametrize("method", ["async_delete", "async_get"])
async def test_a_single_id_is_refused_as_its_letters_would_be_taken_for_ids(store, method):
    await store.async_insert([node("a", 1.0)])

    with pytest.raises(TypeError, match=r"takes a list of ids, such as \[node_id\]; a str is none"):
        await getattr(store, method)("a")
    assert ids(await store.async_list_workspace_nodes()) == ["a"]


async def test_upsert_replaces_in_place_and_appends_the_rest(store):
    await store.async_insert([node("a", 1, 0, content="old"), node("b", 0, 1)])
    await store.async_upsert([node("c", 1, 1), node("a", 0, 2, content="new"), node("c", 3, 3)])

    nodes = await store.async_list_workspace_nodes()

    assert ids(nodes) == ["a", "b", "c"]
    assert [n.vector for n in nodes] == [[0, 2], [0, 1], [3, 3]]
    assert nodes[0].content == "new"


@pytest.mark.parametrize("method", ["async_insert", "async_upsert"])
async def test_a_wrong_length_is_refused_whole_and_both_lengths_are_named(store, method):
    await store.async_insert([node("a", 1, 0, 0)])

    with pytest.raises(BackendError, match=r"node 'b' has a vector of 2 numbers.* have 3"):
        await getattr(store, method)([node("b", 1, 0), node("c", 1, 0)])
    with pytest.raises(BackendError, match=r"node 'c' has a vector of 2 .* node 'b' one of 3"):
        await getattr(store, method)([node("b", 1, 0, 0), node("c", 1, 0)])
    with pytest.raises(BackendError, match=r"the query has a vector of 1 numbers.* have 3"):
        await store.async_search([1.0])
    assert ids(await store.async_list_workspace_nodes()) == ["a"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39, 3e38])
async def test_vectors_without_a_finite_length_are_refused(store, value):
    await store.async_insert([node("a", 1, 1)])

    with pytest.raises(BackendError, match="node 'c' has a vector with NaN, an infinity"):
        await store.async_insert([node("b", 1, 1), node("c", value, 3e38)])
    with pytest.raises(BackendError, match="the query has a vector with NaN, an infinity"):
        await store.async_search([value, 3e38])
    assert ids(await store.async_list_workspace_nodes()) == ["a"]


async def test_an_empty_vector_and_text_in_a_vector_are_refused(store):
    with pytest.raises(BackendError, match="node 'a' has a vector of 0 numbers"):
        await store.async_insert([VectorNode(unique_id="a", vector=[])])
    with pytest.raises(BackendError, match="node 'a' has a vector of something else than numbers"):
        await store.async_insert([VectorNode.model_construct(unique_id="a", vector=["x", 1.0])])
    assert await store.async_list_workspace() == []


async def test_delete_counts_the_known_ids_and_closes_the_gaps(store):
    await store.async_insert([node(str(n), n, 1) for n in range(6)])

    assert await store.async_delete(["1", "4", "1", "x"]) == 2
    assert await store.async_delete(["1"]) == 0
    assert ids(await store.async_list_workspace_nodes()) == ["0", "2", "3", "5"]
    assert (await store.async_get(["5"]))[0].vector == [5, 1]
    await store.async_insert([node("1", 7, 1)])
    assert ids(await store.async_list_workspace_nodes())[-1] == "1"
    assert ids(await store.async_search([0, 1], top_k=1)) == ["0"]


async def test_a_workspace_goes_with_its_last_node(store):
    await store.async_insert([node("a", 1, 0)])
    await store.async_delete(["a"])

    assert await store.async_list_workspace() == []
    await store.async_insert([node("a", 1, 0, 0)])
    assert (await store.async_get(["a"]))[0].vector == [1, 0, 0]


async def test_an_insert_of_nothing_makes_no_workspace(store):
    await store.async_insert([])
    await store.async_upsert([])

    assert await store.async_list_workspace() == []


async def test_top_k_may_exceed_the_store_but_not_fall_below_one(store):
    await store.async_insert([node("a", 1, 0), node("b", 0, 1)])

    assert len(await store.async_search([1, 0], top_k=100)) == 2
    with pytest.raises(BackendError, match="top_k is 0"):
        await store.async_search([1, 0], top_k=0)


async def test_closing_forgets_everything(store):
    await store.async_insert([node("a", 1, 0)])
    await store.aclose()

    assert await store.async_list_workspace() == []


async def test_a_store_made_in_the_worker_thread_of_a_sync_op_serves_it_by_the_blocking_twins(
    model,
):
    def execute() -> list[str]:
        store = MemoryVectorStore(MemoryVectorStoreSettings(), model)
        store.insert([node(str(n), n, 1) for n in range(3000)])
        store.upsert([node("0", 1, 0)])
        assert store.delete(["2999"]) == 1
        return ids(store.search([1, 0], top_k=2))

    with anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(execute, limiter=anyio.CapacityLimiter(1)) == [
            "0",
            "2998",
        ]


class Gated(BaseEmbeddingModel):
    """Embeds when the gate opens."""

    def __init__(self) -> None:
        super().__init__(ModelSettings(model_name="gated"))
        self.asked = anyio.Event()
        self.gate = anyio.Event()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked.set()
        await self.gate.wait()
        return [[1.0, 0.0] for _ in texts]


async def test_two_inserts_of_one_id_at_once_end_with_one_node():
    model = Gated()
    store = MemoryVectorStore(MemoryVectorStoreSettings(), model)
    refused: list[str] = []

    async def insert(content: str) -> None:
        try:
            await store.async_insert([node("a", content=content)])
        except BackendError as error:
            refused.append(str(error))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(insert, "one")
            tasks.start_soon(insert, "two")
            await model.asked.wait()
            model.gate.set()

    assert len(await store.async_list_workspace_nodes()) == 1
    assert len(refused) == 1
    assert "exists already" in refused[0]


async def test_a_workspace_that_goes_during_the_embedding_of_a_query_has_no_nodes():
    model = Gated()
    store = MemoryVectorStore(MemoryVectorStoreSettings(), model)
    await store.async_insert([node("a", 1, 0)])
    found: list[list[VectorNode]] = []

    async def search() -> None:
        found.append(await store.async_search("text"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(search)
            await model.asked.wait()
            await store.async_delete_workspace()
            model.gate.set()

    assert found == [[]]


async def test_a_failing_embedding_changes_nothing():
    class Broken(BaseEmbeddingModel):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if texts == ["short"]:
                return []
            raise BackendError("the provider is away")

    store = MemoryVectorStore(MemoryVectorStoreSettings(), Broken(ModelSettings(model_name="b")))
    await store.async_insert([node("a", 1, 0)])

    with pytest.raises(BackendError, match="the provider is away"):
        await store.async_upsert([node("a", 0, 1), node("b", content="text")])
    with pytest.raises(BackendError, match="0 vectors for 1 texts"):
        await store.async_upsert([node("a", 0, 1), node("b", content="short")])
    nodes = await store.async_list_workspace_nodes()
    assert [(n.unique_id, n.vector) for n in nodes] == [("a", [1, 0])]


async def test_searches_in_threads_see_one_state_while_tasks_change_the_store(store):
    """Every node holds its generation in each number; a torn state would mix two of them."""
    size = 3000

    async def write() -> None:
        for generation in range(2, 12):
            await store.async_upsert(
                [node(str(n), *[generation] * 4, content=str(generation)) for n in range(size)]
            )
            await store.async_delete([str(n) for n in range(generation)])
            await store.async_insert(
                [
                    node(str(n), *[generation] * 4, content=str(generation))
                    for n in range(generation)
                ]
            )

    async def read() -> None:
        for _ in range(10):
            for n in await store.async_search([1, 1, 1, 1], top_k=50):
                assert n.vector == [float(n.content)] * 4
            nodes = await store.async_list_workspace_nodes()
            assert size - 12 <= len(nodes) <= size
            assert len({n.content for n in nodes}) == 1

    await store.async_insert([node(str(n), 1, 1, 1, 1, content="1") for n in range(size)])
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(3):
                tasks.start_soon(read)

    assert {n.content for n in await store.async_list_workspace_nodes()} == {"11"}
