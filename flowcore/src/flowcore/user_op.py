"""What the ops that users write have in common: parameters, models, prompts, tries."""

from __future__ import annotations

import inspect
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowcore.embedding import BaseEmbeddingModel
from flowcore.errors import OpDefinitionError, did_you_mean
from flowcore.failure import error_text
from flowcore.leftover import instead_of_parameter, note_on
from flowcore.llm import BaseLLM, ChatStream, close_streams, open_streams
from flowcore.op import COPIED, Op, own_copy
from flowcore.parameters import (
    BACKENDS,
    COMMON_PARAMETERS,
    ParameterTypes,
    check_common_parameters,
    checked_init,
    has_no_default,
    init_arguments,
    is_computed,
    own_parameters,
    parameter_types,
    with_class_defaults,
)
from flowcore.prompt import Prompts, prompt_file
from flowcore.run import Run
from flowcore.vector_store import BaseVectorStore

logger = logging.getLogger("flowcore")


class UserOp(Op, ABC):
    """Base of BaseAsyncOp and BaseOp.

    An op's own parameters are class attributes, or arguments of an ``__init__`` that passes its
    other keyword arguments on. Where they are annotated, values are checked::

        class SearchOp(BaseAsyncOp):
            index: str      # required
            top_k: int = 5

    Args:
        name: Name for messages and sub-ops; by default the class name in snake case.
        max_retries: How often the op is tried in all, at least once. It is tried again only while
            it has emitted no chunk.
        raise_exception: Whether a failure that no fallback handles ends the run (the default), or
            is logged and passed over.
        language: Language of the prompts; by default that of the app.
        prompt_path: Prompt file, relative to the file of the op; by default ``x_prompt.yaml``
            beside ``x_op.py``.
        llm: Name of the ``llm`` entry, or an LLM.
        embedding_model: Name of the ``embedding_model`` entry, or an embedding model.
        vector_store: Name of the ``vector_store`` entry, or a vector store.
        **params: The op's own parameters.

    Raises:
        OpDefinitionError: If a parameter is unknown, of the wrong type, or out of range.
    """

    file_path: str = ""
    # An op holds only what differs from its class, for each run has to copy what it holds.
    max_retries: int = 1
    raise_exception: bool = True
    language: str = ""
    prompt_path: str = ""
    _llm: str | BaseLLM = "default"
    _embedding_model: str | BaseEmbeddingModel = "default"
    _vector_store: str | BaseVectorStore = "default"
    _prompts: Prompts | None = None

    @with_class_defaults
    def __init__(
        self,
        *,
        name: str = "",
        max_retries: int = 1,
        raise_exception: bool = True,
        language: str = "",
        prompt_path: str = "",
        llm: str | BaseLLM = "default",
        embedding_model: str | BaseEmbeddingModel = "default",
        vector_store: str | BaseVectorStore = "default",
        **params: Any,
    ) -> None:
        super().__init__(name)
        common: dict[str, Any] = {
            "max_retries": max_retries,
            "raise_exception": raise_exception,
            "language": language,
            "prompt_path": prompt_path,
            "llm": llm,
            "embedding_model": embedding_model,
            "vector_store": vector_store,
        }
        op = type(self).__name__
        check_common_parameters(op, {"name": name, **common})
        if max_retries < 1:
            text = f"{op}: max_retries counts tries, at least 1"
            raise OpDefinitionError(text, parameter="max_retries")
        for key, value in common.items():
            held = f"_{key}" if key in BACKENDS else key
            if value is not getattr(type(self), held):
                setattr(self, held, value)
        own, types = own_parameters(type(self)), parameter_types(type(self))
        self._own_defaults(own, types)
        for key, value in params.items():
            if key not in own:
                raise self._unknown_parameter(key, value, own)
            setattr(self, key, types.convert(op, key, value))
        if type(self).__init__ is UserOp.__init__:
            for key in own:
                if has_no_default(type(self), key) and not hasattr(self, key):
                    raise OpDefinitionError(f"{op} needs the parameter {key!r}")

    def _own_defaults(self, own: Iterable[str], types: ParameterTypes) -> None:
        """Hold the defaults of the class that are not shared with it, or have another type."""
        changed = types.changed_defaults(type(self).__name__)
        for key in own:
            if is_computed(type(self), key):
                continue
            default = getattr(self, key, None)
            # An `__init__` may have set it, and a test have put another in its place.
            if is_changed := key in changed and default is types[key].default:
                default = changed[key]
            # What runs append to must not be the list that the class holds.
            if isinstance(default, COPIED):
                setattr(self, key, own_copy(default))
            elif is_changed:
                setattr(self, key, default)

    def _unknown_parameter(self, key: str, value: object, own: Iterable[str]) -> OpDefinitionError:
        known = [*own, *init_arguments(type(self)), *COMMON_PARAMETERS]
        declare = f"(`{key}: {type(value).__name__} = …`) or in its `__init__`"
        hint = (
            instead_of_parameter(key)
            or did_you_mean(key, known)
            or f"; an op declares its own parameters on the class {declare}"
        )
        text = f"{type(self).__name__} has no parameter {key!r}{hint}"
        return OpDefinitionError(text, parameter=key)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__name__
        if not name.endswith("Op"):
            raise OpDefinitionError(
                f"the name of an op class must end in 'Op': rename {name!r} to '{name}Op'"
            )
        if inspect.isfunction(init := vars(cls).get("__init__")):
            setattr(cls, "__init__", checked_init(init))  # noqa: B010 - a type checker's own rule
        for kind in BACKENDS:
            home = next(base for base in cls.__mro__ if {kind, f"_{kind}"} & vars(base).keys())
            value = vars(home).get(kind)
            if value is not None and not is_computed(home, kind):
                # A name is not yet what the property of this name finds by it. It may be that of
                # a mixin, which is left as it is.
                setattr(cls, f"_{kind}", value)
                setattr(cls, kind, vars(UserOp)[kind])

    # --- what an op uses while it runs ---

    @property
    def llm(self) -> BaseLLM:
        """The language model that the op's ``llm`` names."""
        return self.run.resources.llm(self._llm) if isinstance(self._llm, str) else self._llm

    @property
    def embedding_model(self) -> BaseEmbeddingModel:
        """The embedding model that the op's ``embedding_model`` names."""
        model = self._embedding_model
        return self.run.resources.embedding_model(model) if isinstance(model, str) else model

    @property
    def vector_store(self) -> BaseVectorStore:
        """The vector store that the op's ``vector_store`` names."""
        store = self._vector_store
        return self.run.resources.vector_store(store) if isinstance(store, str) else store

    @property
    def short_name(self) -> str:
        """The op's name without the ending ``_op``."""
        return self.name.removesuffix("_op")

    def named_backends(self) -> dict[str, str]:
        """Return the config entries that this op names, by kind: ``{"llm": "default", …}``."""
        used = {
            "llm": self._llm,
            "embedding_model": self._embedding_model,
            "vector_store": self._vector_store,
        }
        return {kind: name for kind, name in used.items() if isinstance(name, str)}

    def get_prompt(self, prompt_name: str) -> str:
        """Return a prompt of the op's prompt file, in the op's language where it has that.

        Raises:
            PromptError: If there is none.
        """
        return self._own_prompts().get(prompt_name)

    def prompt_format(self, prompt_name: str = "", /, **values: Any) -> str:
        """Return a prompt with ``{key}`` replaced by ``values``; all other braces stay.

        Args:
            prompt_name: Name of the prompt; it may be given as ``prompt_name=`` too.
            **values: What takes the place of the gaps.

        Raises:
            PromptError: If there is no such prompt.
        """
        prompt_name = prompt_name or values.pop("prompt_name", "")
        return self._own_prompts().format(prompt_name, values)

    def load_prompts(self, language: str) -> None:
        """Read the op's prompt file, once, when its flow is compiled.

        Args:
            language: Language of the app, for ops that name none.

        Raises:
            PromptError: If the file that ``prompt_path`` names is missing, or any is malformed.
        """
        place = self._prompt_place()
        self._prompts = Prompts(self.find_prompts(), self.language or language, place=place)

    def _own_prompts(self) -> Prompts:
        if self._prompts is None:
            self.not_running("get_prompt")
        return self._prompts

    def find_prompts(self) -> Path | None:
        """Return the file of the op's prompts, or None where it has none."""
        path = self._prompt_place()
        return path if self.prompt_path or (path and path.is_file()) else None

    def _prompt_place(self) -> Path | None:
        module = sys.modules.get(type(self).__module__)
        source = self.file_path or getattr(module, "__file__", None)
        # Code typed into an interpreter has no file: paths are then relative to the folder.
        folder = Path(source).resolve().parent if source else Path.cwd()
        if self.prompt_path:
            return folder / self.prompt_path
        return prompt_file(folder / Path(source).name) if source else None

    # --- execution ---

    async def _perform(self, run: Run) -> Any:
        if run.trace is not None:
            await run.trace.started(self._place, self)
        if run.observer is not None:
            run.observer.op_started(run, self)
        streams: list[ChatStream] = []
        token = open_streams.set(streams)
        run.active_ops.append(self)
        failure: BaseException | None = None
        left = self.max_retries
        try:
            while True:
                left -= 1
                emitted = self.emitted() if left else 0
                try:
                    result = await self._attempt()
                except Exception as error:  # noqa: BLE001 - _fail raises it
                    if not left or self.emitted() != emitted:
                        return await self._fail(error)
                    logger.warning(
                        "run %s: op %r failed: %s; next try", run.id, self.name, error_text(error)
                    )
                else:
                    if result is not None:
                        run.returned_by = self.name
                    return result
        except BaseException as error:
            failure = error
            raise
        finally:
            open_streams.reset(token)
            if streams:
                await close_streams(streams)
            run.active_ops.remove(self)
            if run.trace is not None:
                run.trace.ended(self._place, self, failure)
            if run.observer is not None:
                run.observer.op_finished(run, self, failure)
            # Its traceback holds this frame, and that the whole run.
            failure = None

    async def _fail(self, error: Exception) -> Any:
        try:
            if self._has_fallback():
                try:
                    return await self._fall_back(error)
                except Exception as failure:  # noqa: BLE001 - it takes the place of the first error
                    error = failure
            if not self.raise_exception:
                logger.warning(
                    "run %s: op %r failed and is passed over",
                    self.run.id,
                    self.name,
                    exc_info=error,
                )
                return None
            self.run.blame(self.name)
            for note in (note_on(error, self), f"in flow {self.run.flow!r}, op {self.name!r}"):
                if note and note not in getattr(error, "__notes__", ()):
                    with suppress(AttributeError):  # a frozen exception
                        error.add_note(note)
            raise error
        finally:
            del error  # its traceback holds this frame, and that the whole run

    @abstractmethod
    def _attempt(self) -> Awaitable[Any]:
        """Try once."""

    @abstractmethod
    def _has_fallback(self) -> bool:
        """Whether the class overrides the fallback method."""

    @abstractmethod
    def _fall_back(self, error: Exception) -> Awaitable[Any]:
        """Run the fallback method."""
