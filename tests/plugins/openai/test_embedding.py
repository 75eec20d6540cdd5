"""The embedding backend."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flowcore import BackendError

from .conftest import CANARY, MakeEmbedding
from .upstream import HANG, Drip, Reply, Upstream, document, embeddings, status


def vector(text: str) -> list[float]:
    return [float(len(text)), 0.5, -1]


async def test_vectors_come_in_the_order_of_the_texts(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", embeddings(vector))
    texts = ["x" * n for n in range(25)]
    vectors = await embedding(max_batch_size=10).embed(texts)
    assert vectors == [vector(text) for text in texts]
    assert [len(request.json["input"]) for request in upstream.requests] == [10, 10, 5]
    assert upstream.connections == 1


async def test_the_default_batch_is_ten(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", embeddings(vector))
    await embedding().embed(["x"] * 11)
    assert [len(request.json["input"]) for request in upstream.requests] == [10, 1]


async def test_one_text_and_no_text(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", embeddings(vector))
    model = embedding()
    assert await model.async_get_embeddings("abc") == [3.0, 0.5, -1.0]
    assert await model.embed([]) == []
    assert len(upstream.requests) == 1


async def test_the_request_holds_params_and_key(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", embeddings(vector))
    params = {"dimensions": 3, "text_type": "query", "encoding_format": "base64"}
    await embedding(params=params).embed(["a\ud83d"])
    assert upstream.requests[0].path == "/v1/embeddings"
    assert upstream.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert upstream.requests[0].json == {
        "model": "m",
        "input": ["a\ufffd"],
        "encoding_format": "float",
        "dimensions": 3,
        "text_type": "query",
    }


async def test_failures_are_retried_and_told(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", status(503), status(429, retry_after_ms="1"), embeddings(vector))
    assert await embedding().embed(["a"]) == [vector("a")]
    assert len(upstream.requests) == 3
    upstream.on("m", status(401, f"bad key {CANARY}"))
    with pytest.raises(BackendError) as caught:
        await embedding().embed(["a"])
    assert caught.value.code == "upstream_auth"
    assert CANARY not in str(caught.value)
    with pytest.raises(BackendError, match="FLOW_EMBEDDING_API_KEY is not set"):
        await embedding(api_key=None).embed(["a"])


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        [],
        {},
        {"data": 5},
        {"data": [{"embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]},
        {"data": [{"embedding": [1]}, {"embedding": [1, 2]}]},
        {"data": [{"embedding": [1]}, {"embedding": None}]},
        {"data": [{"embedding": [1]}, {"embedding": ["x"]}]},
    ],
    ids=str,
)
async def test_an_answer_that_is_none_is_invalid(
    answer: Any, upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", document(answer))
    with pytest.raises(BackendError) as caught:
        await embedding().embed(["a", "b"])
    assert caught.value.code == "upstream_invalid"


@pytest.mark.parametrize(
    "vector",
    [
        *("[NaN]", "[Infinity]", "[-Infinity]", "[1e999]", "[1, NaN]", "[1" + "0" * 400 + "]"),
        *("[]", '["nan"]', '["1"]', '"123"', '""', "[true]", "true", "5", "null", "[null]"),
        *("[[1]]", "{}", '{"0": 1}'),
    ],
    ids=lambda vector: vector[:20],
)
async def test_a_vector_holds_finite_numbers_only(
    vector: str, upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", document(b'{"data": [{"index": 0, "embedding": %s}]}' % vector.encode()))
    with pytest.raises(BackendError) as caught:
        await embedding().embed(["a"])
    assert caught.value.code == "upstream_invalid"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("index", ["1e999", "NaN", '"x"', "null", "[]", "1", "-1", "1" + "0" * 400])
async def test_an_index_that_is_none_is_invalid(
    index: str, upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", document(b'{"data": [{"index": %s, "embedding": [1]}]}' % index.encode()))
    with pytest.raises(BackendError) as caught:
        await embedding().embed(["a"])
    assert caught.value.code == "upstream_invalid"


async def test_whole_numbers_and_tiny_ones_are_numbers(
    upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", document(b'{"data": [{"embedding": [1, -0.0, 1e-400, 1e308]}]}'))
    vectors = await embedding().embed(["a"])
    assert vectors == [[1.0, 0.0, 0.0, 1e308]]
    assert {type(number) for number in vectors[0]} == {float}


async def test_an_endless_answer_is_cut_at_the_limit(
    upstream: Upstream, embedding: MakeEmbedding, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flowcore_openai.embedding.MAX_BYTES", 10_000)
    upstream.on("m", Reply((b'{"data": [', Drip(b"0," * 2000, interval=0))))
    with anyio.fail_after(5), pytest.raises(BackendError, match="longer than 10000") as caught:
        await embedding().embed(["a"])
    assert caught.value.code == "upstream_invalid"
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()


async def test_vectors_of_the_wrong_length_are_refused(
    upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", embeddings(vector))
    with pytest.raises(BackendError, match=r"3 dimensions; params\.dimensions asks for 8"):
        await embedding(params={"dimensions": 8}).embed(["a"])


async def test_an_error_inside_a_good_status_is_told(upstream: Upstream, embedding: MakeEmbedding):
    upstream.on("m", document({"error": {"message": "out of memory"}}))
    with pytest.raises(BackendError, match="out of memory") as caught:
        await embedding().embed(["a"])
    assert caught.value.code == "upstream_error"


async def test_a_hanging_upstream_ends_with_the_total_timeout(
    upstream: Upstream, embedding: MakeEmbedding
):
    upstream.on("m", Reply((HANG,), status=0))
    with anyio.fail_after(5), pytest.raises(BackendError) as caught:
        await embedding(total_timeout=0.3).embed(["a"])
    assert caught.value.code == "upstream_timeout_total"
    with anyio.fail_after(5):
        await upstream.requests[0].gone.wait()
