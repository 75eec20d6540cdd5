"""The parameters of op classes: which there are, of which types, and whether values fit."""

from __future__ import annotations

import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from os import PathLike
from types import MemberDescriptorType, NoneType
from typing import Any, ParamSpec, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from flowcore.backend import KINDS
from flowcore.errors import OpDefinitionError
from flowcore.op import Op
from flowcore.parameter_type import MISSING, ParameterType

P = ParamSpec("P")


class ParameterTypes(dict[str, ParameterType]):
    """The types of the annotated parameters of one class, or of one ``__init__``, by name."""

    _changed: Mapping[str, Any] | None = None

    def convert(self, op: str, name: str, value: Any) -> Any:
        """Return a value as the annotation wants it; one without annotation stays as it is.

        Raises:
            OpDefinitionError: If the value does not fit.
        """
        if name not in self:
            return value
        kind = self[name]
        try:
            return kind.convert(value)
        except ValidationError as error:
            text = f"{op}: {kind.fault(name, value, error)}"
            raise OpDefinitionError(text, parameter=name) from None

    def changed_defaults(self, op: str) -> Mapping[str, Any]:
        """Return the defaults that the annotations want to be something else, as they want them.

        They are checked at the first call: a name in an annotation may be defined after the class.

        Raises:
            OpDefinitionError: If a default does not fit.
        """
        if self._changed is None:
            changed = dict(self._converted_defaults(op))
            self._changed = changed
        return self._changed

    def _converted_defaults(self, op: str) -> Iterator[tuple[str, Any]]:
        for name, kind in self.items():
            if kind.default is MISSING:
                continue
            if isinstance(kind.default, FieldInfo):
                raise OpDefinitionError(
                    f"{op}: parameter {name!r} has a Field as its default; "
                    f"write `{name}: Annotated[{kind}, Field(…)] = …`"
                )
            try:
                value = kind.convert(kind.default)
            except ValidationError as error:
                text = kind.fault(name, kind.default, error).partition("; write ")[0]
                raise OpDefinitionError(f"{op}: the default of {text}; correct the class") from None
            if value is not kind.default:
                yield name, value


def check_common_parameters(op: str, values: Mapping[str, Any]) -> None:
    """Check the parameters that every op has.

    Raises:
        OpDefinitionError: If one has a value of the wrong type.
    """
    for name, value in values.items():
        if name != "prompt_path" or not isinstance(value, PathLike):
            COMMON_PARAMETERS.convert(op, name, value)
        if name in BACKENDS and isinstance(value, _LITERALS):
            text = f"{op}: parameter {name!r} must be the name of an entry under {name}, not"
            raise OpDefinitionError(f"{text} {value!r}", parameter=name)


def own_parameters(cls: type[Op]) -> list[str]:
    """Return the names of the parameters that an op class declares as class attributes."""
    names: dict[str, None] = {}
    for klass in _user_classes(cls):
        annotations = inspect.get_annotations(klass)
        for name in (*annotations, *vars(klass)):
            value = inspect.getattr_static(klass, name, None)
            if "ClassVar" in str(annotations.get(name, "")):
                continue
            # A class or a function may be the default of an annotated parameter.
            is_code = isinstance(value, _DESCRIPTORS) or (
                callable(value) and name not in annotations
            )
            if not (name.startswith("_") or name in COMMON_PARAMETERS or is_code):
                names[name] = None
    names.pop("file_path", None)
    return list(names)


def parameter_types(cls: type[Op]) -> ParameterTypes:
    """Return the types of the parameters that a class declares as attributes, made once."""
    if (known := vars(cls).get(_TYPES)) is not None:
        return known
    types = ParameterTypes()
    for name in own_parameters(cls):
        default = MISSING
        for klass in _user_classes(cls):
            annotations = inspect.get_annotations(klass)
            if default is MISSING:
                default = vars(klass).get(name, MISSING)
            if name in annotations:
                names = ChainMap(_globals_of(klass), dict(vars(klass)))
                if is_computed(cls, name):
                    default = MISSING
                types[name] = ParameterType(annotations[name], names, default)
                break
    setattr(cls, _TYPES, types)
    return types


def with_class_defaults(init: Callable[P, None]) -> Callable[P, None]:
    """Return an ``__init__`` whose defaults are those of the class, where that has some.

    Args:
        init: The ``__init__`` that takes the parameters that every op has.
    """

    @wraps(init)
    def filled(*args: P.args, **kwargs: P.kwargs) -> None:
        cls = cast("type[Op]", type(args[0]))
        for name in COMMON_PARAMETERS.keys() - kwargs.keys():
            attribute = f"_{name}" if name in BACKENDS else name
            value = getattr(cls, attribute, MISSING)
            if value is not MISSING and not is_computed(cls, attribute):
                kwargs[name] = value
        init(*args, **kwargs)

    return filled


def is_computed(cls: type[Op], name: str) -> bool:
    """Whether an attribute is what a property, or another descriptor, makes of it."""
    value: object = inspect.getattr_static(cls, name, None)
    return hasattr(value.__class__, "__get__")


def has_no_default(cls: type[Op], name: str) -> bool:
    """Whether an op has a parameter only if a value is given: declared, without or in a slot."""
    value: object = inspect.getattr_static(cls, name, None)
    is_declared_slot = isinstance(value, MemberDescriptorType) and name in parameter_types(cls)
    return is_declared_slot or not (is_computed(cls, name) or hasattr(cls, name))


def is_parameter(cls: type[Op], name: str) -> bool:
    """Whether an op class has a parameter of this name."""
    return name in COMMON_PARAMETERS or name in own_parameters(cls) or name in init_arguments(cls)


def init_arguments(cls: type[Op]) -> list[str]:
    """Return the parameters that are arguments of the class's own ``__init__``, if it has one."""
    return _arguments(inspect.signature(cls.__init__)) if has_own_init(cls) else []


def has_own_init(cls: type[Op]) -> bool:
    """Whether an op class has another ``__init__`` than that which flowcore brings."""
    return cls.__init__.__module__ not in _BASE_MODULES


def checked_init(init: Callable[..., None]) -> Callable[..., None]:
    """Return an ``__init__`` that checks its annotated arguments; the same if it has none.

    The parameters that every op has are left to :class:`UserOp`.
    """
    if not init.__annotations__.keys() - {"return", *COMMON_PARAMETERS}:
        return init
    signature = inspect.signature(init)
    types = argument_types(init, signature)
    if not types:
        return init

    @wraps(init)
    def checked(self: Op, *args: Any, **kwargs: Any) -> None:
        op = type(self).__name__
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            init(self, *args, **kwargs)  # which says better what is wrong
            return
        for name in bound.arguments.keys() & types:
            bound.arguments[name] = types.convert(op, name, bound.arguments[name])
        for name, value in types.changed_defaults(op).items():
            bound.arguments.setdefault(name, value)
        init(*bound.args, **bound.kwargs)

    return checked


def _arguments(signature: inspect.Signature) -> list[str]:
    """Return the names of the arguments of an ``__init__`` that are parameters of its own."""
    _, *parameters = signature.parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [parameter.name for parameter in parameters if parameter.kind not in variable]
    return [name for name in named if name not in COMMON_PARAMETERS]


def argument_types(init: Callable[..., None], signature: inspect.Signature) -> ParameterTypes:
    """Return the types of the annotated arguments of an ``__init__``."""
    names = getattr(init, "__globals__", {})
    types = ParameterTypes()
    for name in _arguments(signature):
        parameter = signature.parameters[name]
        if parameter.annotation is not MISSING:
            types[name] = ParameterType(parameter.annotation, names, parameter.default)
    return types


def _user_classes(cls: type[Op]) -> list[type]:
    """Return a class and its bases, mixins too, without those that flowcore brings."""
    ours = (klass for klass in cls.__mro__ if klass is not Op)
    return [klass for klass in ours if klass.__module__ not in _BASE_MODULES]


def _globals_of(klass: type) -> dict[str, Any]:
    return vars(sys.modules[klass.__module__]) if klass.__module__ in sys.modules else {}


COMMON_PARAMETERS = ParameterTypes(
    name=ParameterType(str, {}),
    max_retries=ParameterType(int, {}),
    raise_exception=ParameterType(bool, {}),
    language=ParameterType(str, {}),
    prompt_path=ParameterType(str, {}),
    llm=ParameterType(Any, {}),
    embedding_model=ParameterType(Any, {}),
    vector_store=ParameterType(Any, {}),
)
"""The parameters that every op has. Where a backend is wanted, a test may give a double."""
BACKENDS = frozenset(KINDS)
_LITERALS = (int, float, list, dict, NoneType)
_TYPES = "_parameter_types"
"""Name of the class attribute that keeps them: what knows a class must not outlive it."""
_BASE_MODULES = frozenset({"flowcore.user_op", "flowcore.base_op"})
_DESCRIPTORS = (property, classmethod, staticmethod)
