from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowcore import BackendError, VectorNode


async def test_a_dumped_workspace_loads_as_it_was(store, model, tmp_path):
    contents = [
        "plain",
        "two\nlines",
        "separators \u2028 \u2029 \x85 \x00",
        "emoji 👩\u200d🚀 and 中文",
    ]
    await store.async_insert(
        [
            VectorNode(unique_id=f"id {n}", content=content, metadata={"n": [n, {"deep": content}]})
            for n, content in enumerate(contents)
        ],
        "one",
    )
    path = tmp_path / "one.jsonl"
    before = await store.async_list_workspace_nodes("one")

    assert await store.async_dump_workspace("one", path) == 4
    assert await store.async_load_workspace("two", str(path)) == 4
    after = await store.async_list_workspace_nodes("two")

    assert [n.model_dump(exclude={"workspace_id"}) for n in after] == [
        n.model_dump(exclude={"workspace_id"}) for n in before
    ]
    assert {n.workspace_id for n in after} == {"two"}
    assert len(model.calls) == 1


async def test_a_file_is_one_json_object_a_line_in_utf_8(store, tmp_path):
    await store.async_insert([VectorNode(unique_id="ä", vector=[0.5, 1.0], metadata={"k": 1})], "w")
    await store.async_dump_workspace("w", tmp_path / "w.jsonl")

    lines = (tmp_path / "w.jsonl").read_text(encoding="utf-8").split("\n")

    assert len(lines) == 2
    assert lines[1] == ""
    assert json.loads(lines[0]) == {
        "unique_id": "ä",
        "workspace_id": "w",
        "content": "",
        "vector": [0.5, 1.0],
        "metadata": {"k": 1},
    }


async def test_loading_replaces_the_workspace(store, tmp_path):
    await store.async_insert([VectorNode(unique_id="a", vector=[1.0, 2.0])])
    await store.async_dump_workspace("default", tmp_path / "w.jsonl")
    await store.async_delete_workspace()
    await store.async_insert([VectorNode(unique_id="b", vector=[1.0, 2.0, 3.0])])

    await store.async_load_workspace("default", tmp_path / "w.jsonl")

    assert [n.unique_id for n in await store.async_list_workspace_nodes()] == ["a"]


async def test_an_unknown_workspace_dumps_an_empty_file_and_an_empty_file_loads_none(
    store, tmp_path
):
    path = tmp_path / "none.jsonl"
    await store.async_insert([VectorNode(unique_id="a", vector=[1.0])])

    assert await store.async_dump_workspace("nowhere", path) == 0
    assert path.read_bytes() == b""
    assert await store.async_load_workspace("default", path) == 0
    assert await store.async_list_workspace() == []


async def test_nodes_of_a_file_without_vectors_are_embedded_in_one_call(store, model, tmp_path):
    path = tmp_path / "hand.jsonl"
    path.write_text('{"content": "tea"}\n\n{"content": "bread"}\r\n', encoding="utf-8")

    assert await store.async_load_workspace("default", path) == 2
    assert model.calls == [["tea", "bread"]]
    assert (await store.async_search("tea", top_k=1))[0].content == "tea"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"unique_id": "b", "vector": [1]}\n{"unique', "line 2: not a node"),
        (b"[1]\n", "line 1: not a node"),
        (b'{"unique_id": "b", "vector": "x"}', "line 1: not a node: vector"),
        (b'{"content": "\xff"}', "line 1: not a node"),
        (
            b'{"unique_id": "b", "vector": [1]}\n' * 2,
            "line 2: the node id 'b' stands in an earlier",
        ),
        (b'{"vector": [1]}\n{"vector": [1, 2]}', "vector of 2 numbers"),
        (b'{"vector": [NaN]}', "NaN"),
    ],
)
async def test_a_malformed_file_is_refused_and_the_workspace_stays(store, tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text)
    await store.async_insert([VectorNode(unique_id="a", vector=[1.0, 2.0])])

    with pytest.raises(BackendError, match=message):
        await store.async_load_workspace("default", path)
    assert [n.unique_id for n in await store.async_list_workspace_nodes()] == ["a"]


async def test_a_missing_file_is_named(store, tmp_path):
    with pytest.raises(BackendError, match=r"cannot read '.*absent\.jsonl': No such file"):
        await store.async_load_workspace("default", tmp_path / "absent.jsonl")


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
async def test_metadata_with_no_json_form_leaves_the_earlier_file_as_it_was(store, tmp_path, value):
    path = tmp_path / "w.jsonl"
    path.write_text("earlier\n", encoding="utf-8")
    await store.async_insert(
        [VectorNode(vector=[1.0]), VectorNode(unique_id="bad", vector=[1.0], metadata={"v": value})]
    )

    with pytest.raises(BackendError, match="node 'bad' has no JSON form"):
        await store.async_dump_workspace("default", path)
    assert path.read_text(encoding="utf-8") == "earlier\n"
    assert [child.name for child in tmp_path.iterdir()] == ["w.jsonl"]


@pytest.mark.parametrize("target", ["absent/w.jsonl", "file/w.jsonl", "folder"])
async def test_a_path_that_cannot_be_written_is_named_and_nothing_is_left(store, tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    await store.async_insert([VectorNode(vector=[1.0])])

    with pytest.raises(BackendError, match=f"cannot write '.*{Path(target).name}'"):
        await store.async_dump_workspace("default", tmp_path / target)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["file", "folder"]
