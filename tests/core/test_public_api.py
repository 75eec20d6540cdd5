from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import flowcore

HEAVY = {
    "pydantic",
    "quart",
    "hypercorn",
    "httpx",
    "httpx2",
    "openai",
    "numpy",
    "xllamacpp",
    "rich",
}
SCRIPT = Path(sys.executable).with_name("flowcore")

SHOW_MODULES = """
import sys
{code}
print(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)
"""


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES.format(code=code)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stderr.split())


def test_importing_flowcore_loads_nothing_heavy() -> None:
    loaded = modules_after("import flowcore")

    assert "flowcore" in loaded
    assert loaded.isdisjoint(HEAVY | {"anyio", "yaml", "click", "pluggy"})


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "from flowcore.cli import main\n"
        "import contextlib\n"
        "with contextlib.suppress(SystemExit): main(['--help'])"
    )

    assert modules_after(code).isdisjoint(HEAVY | {"asyncio", "anyio", "yaml", "pluggy"})


def test_the_core_never_loads_a_server_a_client_or_a_model() -> None:
    code = (
        "import flowcore\n"
        "for name in flowcore.__all__: getattr(flowcore, name)\n"
        "import flowcore.testing, flowcore.sse, flowcore.terminal, flowcore.calling"
    )

    assert modules_after(code).isdisjoint(HEAVY - {"pydantic", "rich"})


def test_every_public_name_is_there_listed_and_sorted() -> None:
    assert flowcore.__all__ == sorted(flowcore.__all__)
    assert len(set(flowcore.__all__)) == len(flowcore.__all__)
    for name in flowcore.__all__:
        assert getattr(flowcore, name) is not None
    assert set(dir(flowcore)) >= set(flowcore.__all__)
    assert set(flowcore._MODULES) | {"__version__"} == set(flowcore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'flowcore' has no attribute 'Nothing'"):
        _ = flowcore.Nothing  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ImportError):
        from flowcore import (
            Nothing,  # noqa: F401 # pyright: ignore[reportAttributeAccessIssue, reportUnusedImport]
        )


def test_every_public_name_is_documented() -> None:
    bare: list[str] = []
    for name in flowcore.__all__:
        value = getattr(flowcore, name)
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue
        if not inspect.getdoc(value):
            bare.append(name)
        for key, member in vars(value).items() if inspect.isclass(value) else ():
            if (
                not key.startswith("_")
                and inspect.isfunction(member)
                and not inspect.getdoc(getattr(value, key))
            ):
                bare.append(f"{name}.{key}")

    assert bare == []


def core_modules() -> list[ModuleType]:
    folder = Path(flowcore.__file__).parent
    names = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")]
    return [importlib.import_module(f"flowcore.{name}") for name in names]


def test_every_hook_is_documented_and_typed() -> None:
    from flowcore import hookspecs

    for name, spec in vars(hookspecs).items():
        if name.startswith("flowcore_"):
            assert inspect.getdoc(spec), name
            assert "return" in inspect.get_annotations(spec), name


def test_every_module_says_what_it_is() -> None:
    assert [module.__name__ for module in core_modules() if not module.__doc__] == []


def test_every_error_of_flowcore_has_one_base_and_a_code_of_its_own() -> None:
    values = [getattr(flowcore, name) for name in flowcore.__all__]
    errors = [
        value
        for value in values
        if inspect.isclass(value) and issubclass(value, flowcore.FlowcoreError)
    ]

    assert len(errors) == 19
    codes = [error.code for error in errors]
    assert len(set(codes)) == len(codes)


def test_the_package_is_typed() -> None:
    assert (Path(flowcore.__file__).parent / "py.typed").is_file()


def test_the_guides_imports_work() -> None:
    names = ["BaseAsyncOp", "BaseOp", "C", "ChunkEnum", "FlowStreamChunk", "Message", "Role"]

    assert [name for name in names if not hasattr(flowcore, name)] == []
    assert [str(kind) for kind in flowcore.ChunkEnum] == [
        "think", "answer", "tool", "usage", "error", "done",
    ]  # fmt: skip
    assert set(flowcore.FlowStreamChunk.model_fields) == {
        "flow_id", "chunk_type", "chunk", "done", "metadata",
    }  # fmt: skip
    assert set(flowcore.FlowResponse.model_fields) == {"answer", "success", "metadata"}
