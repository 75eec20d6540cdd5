from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flowcore import (
    BaseAsyncOp,
    C,
    Catalog,
    DuplicateNameError,
    Op,
    OpDefinitionError,
    UnknownNameError,
)
from flowcore.registry import Registry
from flowcore.testing import ScriptedLLM


class FirstOp(BaseAsyncOp):
    async def async_execute(self) -> None: ...


class SecondOp(BaseAsyncOp):
    async def async_execute(self) -> None: ...


def test_a_decorator_registers_under_the_class_name_or_another() -> None:
    catalog = Catalog()

    assert catalog.register_op()(FirstOp) is FirstOp
    catalog.register_op("Other")(SecondOp)

    assert dict(catalog.ops) == {"FirstOp": FirstOp, "Other": SecondOp}
    assert catalog.ops.origin("FirstOp") == f"module {__name__!r}"


@pytest.mark.parametrize(
    "name", ["register_op", "register_llm", "register_embedding_model", "register_vector_store",
             "register_service"],
)  # fmt: skip
def test_a_decorator_takes_only_classes_of_its_kind_and_needs_its_parentheses(name: str) -> None:
    decorator: Any = getattr(Catalog(), name)

    with pytest.raises(OpDefinitionError, match="must be a subclass of"):
        decorator()(dict)
    with pytest.raises(OpDefinitionError, match="write the decorator with parentheses"):
        decorator(FirstOp)


def test_two_classes_of_one_name_are_refused_and_both_named() -> None:
    catalog = Catalog()
    catalog.register_op("Same")(FirstOp)

    with pytest.raises(DuplicateNameError) as caught:
        catalog.register_op("Same")(SecondOp)

    for part in ("op 'Same' is registered twice", "FirstOp", "SecondOp", __name__):
        assert part in str(caught.value)
    assert catalog.ops["Same"] is FirstOp


def test_a_class_may_be_registered_again_after_a_reload(
    write: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    write(
        "reloaded_xyz.py",
        "from flowcore import BaseAsyncOp, C\n"
        "@C.register_op()\n"
        "class AgainOp(BaseAsyncOp):\n"
        "    async def async_execute(self): ...\n",
    )

    module = importlib.import_module("reloaded_xyz")
    first = module.AgainOp
    importlib.reload(module)

    assert C.ops["AgainOp"] is module.AgainOp is not first
    del sys.modules["reloaded_xyz"]


def test_a_registrar_may_override_on_purpose() -> None:
    catalog = Catalog()
    ops: Any = catalog.registrars("the tests")["ops"]
    ops.add(FirstOp, "Same")
    ops.add(SecondOp, "Same", override=True)

    assert catalog.ops["Same"] is SecondOp


def test_merging_names_both_parties_unless_it_overrides() -> None:
    mine, theirs = Catalog(), Catalog()
    mine.registrars("one")["ops"].add(FirstOp, "Same")
    theirs.registrars("two")["ops"].add(SecondOp, "Same")
    theirs.registrars("two")["llms"].add(ScriptedLLM, "scripted")

    with pytest.raises(DuplicateNameError, match=r"by one .* and by two"):
        mine.merge(theirs)
    mine.merge(theirs, override=True)

    assert mine.ops["Same"] is SecondOp
    assert mine.ops.origin("Same") == "two"
    assert mine.llms["scripted"] is ScriptedLLM


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    registry: Registry[Op] = Registry("op")
    with pytest.raises(UnknownNameError, match="unknown op 'FirstOp'"):
        registry.lookup("FirstOp")

    registry.add("FirstOp", FirstOp, "the tests")

    assert registry.lookup("FirstOp") is FirstOp
    with pytest.raises(UnknownNameError, match="unknown op 'FristOp'; did you mean 'FirstOp'"):
        registry.lookup("FristOp")
    with pytest.raises(UnknownNameError, match="because of the weather"):
        registry.lookup("Zzz", "because of the weather")
    assert ("FirstOp" in registry, len(registry), list(registry)) == (True, 1, ["FirstOp"])
