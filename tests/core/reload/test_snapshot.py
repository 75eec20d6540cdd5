from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from flowcore.reload.snapshot import Snapshot

Write = Callable[[str, str], Path]


def snapshot_of(*paths: Path, includes: tuple[Path, ...] = ()) -> Snapshot:
    snapshot = Snapshot(includes)
    snapshot.replace(paths, time.time())
    return snapshot


def test_what_stays_as_it_is_has_not_changed(write: Write):
    path = write("my_ops.py", "x = 1")
    other = write("other.py", "x = 1")
    snapshot = snapshot_of(path)
    other.write_text("x = 2")

    assert snapshot.changes() == {}


def test_a_file_that_is_written_anew_has_changed(write: Write):
    path = write("my_ops.py", "x = 1")
    snapshot = snapshot_of(path)
    write("my_ops.py.new", "x = 22").replace(path)

    assert [*snapshot.changes()] == [path]


def test_a_file_that_is_removed_has_changed(write: Write):
    path = write("my_ops.py", "x = 1")
    snapshot = snapshot_of(path)
    path.unlink()

    assert snapshot.changes() == {path: None}


def test_a_file_that_is_looked_for_may_appear(write: Write, tmp_path: Path):
    snapshot = snapshot_of(tmp_path / ".env")
    assert snapshot.count == 0
    path = write(".env", "X=1")

    assert [*snapshot.changes()] == [path]


def test_new_code_and_yaml_beside_what_is_loaded_is_seen(write: Write):
    snapshot = snapshot_of(write("my_ops.py", ""))
    new = {write("more_ops.py", ""), write("my_prompt.yaml", ""), write("b.yml", "")}
    for name in (".x.py", "x.py~", "x.py.swp", "#x.py#", "x.txt", "x.pyc", "deep/x.py"):
        write(name, "")

    assert {*snapshot.changes()} == new


def test_what_is_taken_note_of_is_no_change_any_more(write: Write):
    path = write("my_ops.py", "x = 1")
    snapshot = snapshot_of(path)
    path.write_text("x = 22")
    write("more_ops.py", "")
    snapshot.renew()

    assert snapshot.changes() == {}


def test_a_file_that_was_written_while_it_was_loaded_counts_as_changed(write: Write):
    began = time.time() - 10
    before, since = write("before.py", ""), write("since.py", "")
    os.utime(before, (began - 1, began - 1))
    snapshot = Snapshot()
    snapshot.replace([before, since], began)

    assert [*snapshot.changes()] == [since]


def test_a_change_of_a_file_that_is_known_is_not_lost_when_others_come_in(write: Write):
    path = write("my_ops.py", "x = 1")
    snapshot = snapshot_of(path)
    path.write_text("x = 22")
    snapshot.add([write("more_ops.py", "")], time.time() + 1)

    assert [*snapshot.changes()] == [path]


def test_all_of_an_included_folder_counts(write: Write, tmp_path: Path):
    data = write("data/deep/words.txt", "x")
    write("data/.git/index", "")
    write("data/node_modules/x.txt", "")
    snapshot = Snapshot([tmp_path / "data"])
    data.write_text("yy")
    new = write("data/new.csv", "")
    for name in ("data/.git/index", "data/node_modules/x.txt", "data/.words.txt.swp"):
        write(name, "changed")

    assert {*snapshot.changes()} == {data, new}
    assert snapshot.folders == {tmp_path / "data", tmp_path / "data/deep"}


def test_an_included_file_counts_whatever_its_kind(write: Write):
    path = write("words.txt", "x")
    snapshot = Snapshot([path])
    path.write_text("yy")

    assert [*snapshot.changes()] == [path]
