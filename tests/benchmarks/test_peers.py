from __future__ import annotations

import pytest
from benchmarks.peer import all_peers, read
from benchmarks.task import all_tasks

HEAD = '# /// script\n# dependencies = ["a==1"]\n# [tool.bench]\n# tasks = ["T1"]\n'


def test_every_task_of_a_peer_exists():
    tasks = all_tasks()
    for peer in all_peers().values():
        assert set(peer.tasks) <= set(tasks), peer.name


def test_every_task_compares_with_peers_that_can_do_it():
    peers = all_peers()
    for task in all_tasks().values():
        for target in task.targets:
            assert task.id in peers[target.peer].tasks
            assert target.of is None or task.id in peers[target.of].tasks
            assert target.figure in {figure.name for figure in task.figures}


def test_every_dependency_has_one_version():
    for peer in all_peers().values():
        assert peer.repo or all("==" in each for each in peer.dependencies), peer.name


def test_fields_stand_where_the_peer_wraps_them(tmp_path):
    script = tmp_path / "one.py"
    wrapped = '# paths = {echo = "/echo/run"}\n# bodies = {"*" = {input = "{fields}"}}\n# ///\n'
    script.write_text(HEAD + wrapped)

    request = read(script).request("echo", n=3)

    assert request.path == "/echo/run"
    assert request.body == b'{"input": {"query": "what is ai", "n": 3}}'


def test_an_unknown_key_is_told(tmp_path):
    script = tmp_path / "one.py"
    script.write_text(HEAD + '# task = ["T2"]\n# ///\n')

    with pytest.raises(ValueError, match=r"unknown keys in \[tool.bench\]: task"):
        read(script)


def test_a_script_without_a_block_is_told(tmp_path):
    script = tmp_path / "one.py"
    script.write_text("print()\n")

    with pytest.raises(ValueError, match="has no '# /// script' block"):
        read(script)
