from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowcore import FlowApp
from flowcore.reload.loaded import files_at_fault, loaded_files

Write = Callable[[str, str], Path]

OP = """
from flowcore import BaseAsyncOp, C

@C.register_op()
class LoadedOp(BaseAsyncOp):
    async def async_execute(self):
        pass
"""
CONFIG = "imports: [loaded_xyz_ops]\nflow: {demo: {flow_content: LoadedOp()}}"


@pytest.fixture(autouse=True)
def no_modules_stay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.startswith("loaded_xyz")]:
        del sys.modules[name]


def test_the_files_of_an_app_are_its_configuration_its_modules_and_its_prompts(write: Write):
    config = write("c.yaml", CONFIG)
    prompts = write("loaded_xyz_ops_prompt.yaml", "a: b")
    module = write("loaded_xyz_ops.py", OP)
    unused = write("unused.py", "")
    files = loaded_files(["c"], FlowApp("c"))

    assert {config, prompts, module, Path(".env").absolute()} <= files
    assert unused not in files


def test_what_is_installed_is_not_among_them():
    files = loaded_files([])

    assert not [path for path in files if "site-packages" in path.parts]
    assert Path(pytest.__file__) not in files
    assert Path(sys.modules["json"].__file__ or "") not in files


def test_a_configuration_that_is_missing_is_waited_for(tmp_path: Path):
    assert {tmp_path / "mine.yaml", tmp_path / "mine.yml"} <= loaded_files(["mine"])


@pytest.mark.parametrize("source", ["x = (", "1 / 0"])
def test_a_module_that_fails_is_among_the_files_at_fault(write: Write, source: str):
    write("c.yaml", CONFIG)
    module = write("loaded_xyz_ops.py", source)
    with pytest.raises(Exception, match="loaded_xyz_ops") as caught:
        FlowApp("c")

    assert module in files_at_fault(["c"], caught.value)


def test_a_prompt_file_that_is_wrong_is_among_the_files_at_fault(write: Write):
    write("c.yaml", CONFIG)
    write("loaded_xyz_ops.py", OP)
    prompts = write("loaded_xyz_ops_prompt.yaml", "a: [")
    with pytest.raises(Exception, match="prompt file") as caught:
        FlowApp("c")

    assert prompts in files_at_fault(["c"], caught.value)
