from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowcore import ConfigError
from flowcore.user_module import import_user_module


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name in ("tea_op", "kettle"):
        sys.modules.pop(name, None)


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        import_user_module(name, "my.yaml:1")
    return str(caught.value)


def test_a_module_of_the_working_folder_is_found(write) -> None:
    write("tea_op.py", "CUPS = 3")

    assert import_user_module("tea_op", "").CUPS == 3


def test_of_a_module_that_is_missing_the_nearest_is_suggested_and_the_place_named(
    write, tmp_path
) -> None:
    write("tea_op.py", "")

    said = refused("tee_op")

    assert said.startswith("my.yaml:1: cannot import 'tee_op': ModuleNotFoundError: ")
    assert "did you mean 'tea_op'?" in said
    assert f"it is looked for in {tmp_path} and among what is installed" in said


def test_a_script_whose_configuration_names_its_own_module_runs(write, tmp_path) -> None:
    write(
        "tea_op.py",
        """\
from flowcore import BaseAsyncOp, C, SyncFlowApp

@C.register_op()
class TeaOp(BaseAsyncOp):
    async def async_execute(self):
        self.context.response.answer = __name__

if __name__ == "__main__":
    config = {"imports": ["tea_op"], "flow": {"tea": {"flow_content": "TeaOp()"}}}
    with SyncFlowApp(config) as app:
        print(app.execute("tea").answer)
""",
    )

    done = subprocess.run(
        [sys.executable, "tea_op.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("__main__\n", "")


def test_a_file_name_is_no_module_name(write) -> None:
    write("tea_op.py", "")

    assert "; write it without .py: tea_op;" in refused("tea_op.py")


@pytest.mark.parametrize("name", ["types", "sys", "pluggy"])
def test_a_module_that_another_one_hides_is_told_apart(write, tmp_path, name) -> None:
    write(f"{name}.py", "")

    said = refused(name)

    assert f"which hides {tmp_path / name}.py; rename that, such as my_{name}.py" in said


def test_a_module_that_is_not_python_is_told_with_file_and_line(write, tmp_path) -> None:
    write("kettle.py", "\ndef boil(:\n")

    assert f"SyntaxError: invalid syntax ({tmp_path / 'kettle.py'}:2)" in refused("kettle")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "from flowllm.core.op import BaseAsyncOp",
            "; write `from flowcore import BaseAsyncOp, C`",
        ),
        ("import flowllm", "; write `from flowcore import BaseAsyncOp, C`"),
        ("from flowcore import C, BaseAsyncToolOp", "; BaseAsyncToolOp is FlowLLM's: derive from"),
        ("from flowcore import HttpClient", "is FlowLLM's: write `from flowcore_http import"),
    ],
)
def test_who_imports_from_flowllm_is_told_what_to_write(write, line, told) -> None:
    write("kettle.py", line)

    assert told in refused("kettle")


def test_a_module_that_fails_is_told_with_the_line_that_failed(write, tmp_path) -> None:
    write("kettle.py", "import nothing_of_this_name")

    said = refused("kettle")

    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in said
    assert f"({tmp_path / 'kettle.py'}:1)" in said
