from __future__ import annotations

import math
import random
from operator import mul

import pytest

from flowcore import VectorNode
from flowcore_memory.settings import MemoryVectorStoreSettings
from flowcore_memory.store import MemoryVectorStore

METRICS = ["cosine", "dot", "euclidean"]


def reference_score(metric: str, a: list[float], b: list[float]) -> float:
    if metric == "euclidean":
        return -math.dist(a, b)
    product = math.fsum(map(mul, a, b))
    if metric == "dot":
        return product
    lengths = math.hypot(*a) * math.hypot(*b)
    return product / lengths if lengths else 0.0


@pytest.fixture
def store(request, model) -> MemoryVectorStore:
    return MemoryVectorStore(MemoryVectorStoreSettings(metric=request.param), model)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("store", METRICS, indirect=True)
async def test_search_agrees_with_comparing_one_by_one(store, seed):
    draw = random.Random(seed)
    dimensions = draw.choice([1, 3, 17, 64])
    # Few distinct numbers, so that there are ties, zero vectors and equal vectors.
    numbers = [-2.0, -0.5, 0.0, 0.0, 0.25, 1.0] if seed % 2 else None

    def vector() -> list[float]:
        if numbers:
            return [draw.choice(numbers) for _ in range(dimensions)]
        return [draw.gauss(0, 1) for _ in range(dimensions)]

    await store.async_insert(
        [
            VectorNode(unique_id=str(n), vector=vector(), metadata={"group": n % 5, "n": n})
            for n in range(draw.choice([1, 40, 400]))
        ]
    )
    await store.async_delete([str(n) for n in range(0, 400, 7)])
    await store.async_upsert([VectorNode(unique_id=str(n), vector=vector()) for n in range(3, 9)])
    nodes = await store.async_list_workspace_nodes()

    for top_k in (1, 3, 50, 1000):
        for filter_dict in (None, {"group": [1, 3], "n": {"gte": 20, "lt": 300}}):
            query = vector()
            wanted = [
                node
                for node in nodes
                if not filter_dict
                or (node.metadata.get("group") in (1, 3) and 20 <= node.metadata["n"] < 300)
            ]
            # The store keeps single precision, which is exact for what it returned.
            exact = {"q": VectorNode(vector=query)}
            await store.async_upsert([exact["q"]], "probe")
            query = (await store.async_list_workspace_nodes("probe"))[0].vector
            await store.async_delete_workspace("probe")
            metric = store.settings.metric
            scores = {n.unique_id: reference_score(metric, n.vector, query) for n in wanted}
            best = sorted(scores.values(), reverse=True)[:top_k]

            found = await store.async_search(query, top_k=top_k, filter_dict=filter_dict)

            assert [n.score for n in found] == pytest.approx(best, abs=1e-12)
            assert [n.score for n in found] == pytest.approx(
                [scores[n.unique_id] for n in found], abs=1e-12
            )
            assert len({n.unique_id for n in found}) == len(found)


@pytest.mark.parametrize("store", METRICS, indirect=True)
async def test_ties_come_in_order_of_insertion_wherever_they_stand(store):
    draw = random.Random(1)
    same = [draw.gauss(0, 1) for _ in range(37)]
    far = [-number for number in same]
    await store.async_insert(
        [VectorNode(unique_id=str(n), vector=same if n % 3 else far) for n in range(101)]
    )

    found = await store.async_search([draw.gauss(0, 1) + s for s in same], top_k=30)

    assert [n.unique_id for n in found] == [str(n) for n in range(46) if n % 3][:30]
    assert len({n.score for n in found}) == 1


@pytest.mark.parametrize("store", METRICS, indirect=True)
async def test_a_zero_vector_is_a_vector_like_others(store):
    await store.async_insert(
        [
            VectorNode(unique_id="away", vector=[-1.0, 0.0]),
            VectorNode(unique_id="zero", vector=[0.0, 0.0]),
            VectorNode(unique_id="near", vector=[1.0, 0.0]),
        ]
    )

    found = await store.async_search([2.0, 0.0])
    by_zero = await store.async_search([0.0, 0.0], top_k=2)

    assert [n.unique_id for n in found] == ["near", "zero", "away"]
    assert [n.score for n in by_zero] == (
        [0, -1] if store.settings.metric == "euclidean" else [0, 0]
    )


@pytest.mark.parametrize("store", ["euclidean"], indirect=True)
async def test_small_distances_between_long_vectors_are_told_apart(store):
    base = [1000.0] * 100
    near = [[1000.0 + (step / 4096 if n == 0 else 0.0) for n in range(100)] for step in (3, 1, 2)]
    await store.async_insert([VectorNode(unique_id=str(n), vector=v) for n, v in enumerate(near)])

    found = await store.async_search(base, top_k=2)

    assert [n.unique_id for n in found] == ["1", "2"]
    assert [n.score for n in found] == [-1 / 4096, -2 / 4096]


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30, 1e37])
@pytest.mark.parametrize("store", METRICS, indirect=True)
async def test_tiny_and_huge_vectors_keep_their_order(store, scale):
    await store.async_insert(
        [
            VectorNode(unique_id="far", vector=[-scale, scale]),
            VectorNode(unique_id="near", vector=[scale, scale]),
            VectorNode(unique_id="side", vector=[scale, 0.0]),
        ]
    )

    found = await store.async_search([scale, scale], top_k=2)

    assert [n.unique_id for n in found] == ["near", "side"]


@pytest.mark.parametrize("store", ["cosine"], indirect=True)
async def test_a_cosine_never_leaves_its_range(store):
    draw = random.Random(2)
    vectors = [[draw.gauss(0, 1) for _ in range(50)] for _ in range(50)]
    await store.async_insert(
        [VectorNode(unique_id=str(n), vector=v) for n, v in enumerate(vectors)]
    )

    for n, vector in enumerate(vectors):
        found = await store.async_search([3 * number for number in vector], top_k=1)
        assert found[0].unique_id == str(n)
        assert found[0].score <= 1.0
        assert found[0].score == pytest.approx(1.0)


@pytest.mark.parametrize("store", ["cosine"], indirect=True)
async def test_a_filter_comes_before_top_k_also_in_a_worker_thread(store):
    await store.async_insert(
        [
            VectorNode(unique_id=str(n), vector=[1.0, n / 5000], metadata={"last": n >= 4990})
            for n in range(5000)
        ]
    )

    found = await store.async_search([1.0, 0.0], top_k=3, filter_dict={"last": True})

    assert [n.unique_id for n in found] == ["4990", "4991", "4992"]
