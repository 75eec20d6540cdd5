"""Finding plugins, one at a time, and calling their hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from importlib import metadata
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pluggy

from flowcore import hookspecs
from flowcore.catalog import C, Catalog
from flowcore.errors import DuplicateNameError, PluginError, did_you_mean
from flowcore.finding import Finding
from flowcore.op import Op
from flowcore.run import Run
from flowcore.schema import FlowStreamChunk

if TYPE_CHECKING:
    from flowcore.app import FlowApp
    from flowcore.config import FlowConfig

logger = logging.getLogger("flowcore")

_SERVICES = frozenset({"http"})

# What to install for the names that flowcore's own distributions provide.
_EXTRAS: Mapping[str, str] = {
    "http": "http",
    "openai_compatible": "openai",
    "llamacpp": "llamacpp",
    "memory": "memory",
    "GenSystemPromptOp": "chat",
    "ChatOp": "chat",
    "StreamChatOp": "chat",
}

_OBSERVING = (
    *("flowcore_run_started", "flowcore_run_finished"),
    *("flowcore_op_started", "flowcore_op_finished", "flowcore_chunk"),
)

# The name of each plugin that implements a hook, and a function of the hook's arguments.
Calls = Sequence[tuple[str, Callable[..., Any]]]


@dataclass(frozen=True)
class Plugin:
    """One plugin, loaded or not.

    Attributes:
        name: Name of its entry point.
        distribution: Name of the package that ships it; empty for a plugin given as an object.
        version: Version of that package.
        module: Module that the entry point names.
        hooks: Names of the hooks that it implements.
        error: Why it could not be loaded; empty if it was.
    """

    name: str
    distribution: str = ""
    version: str = ""
    module: str = ""
    hooks: Sequence[str] = ()
    error: str = ""

    def __str__(self) -> str:
        shipped = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"plugin {self.name!r}{shipped}"


class PluginHost:
    """The plugins of one app and the classes that they registered.

    A plugin that fails to load is recorded in :attr:`plugins` and left out, with all that it had
    registered; the others are not affected.

    Raises:
        DuplicateNameError: If two plugins claim one name.
    """

    def __init__(self) -> None:
        self._pm = pluggy.PluginManager("flowcore")
        self._pm.add_hookspecs(hookspecs)
        self.catalog = Catalog()
        self.plugins: list[Plugin] = []
        self._given: list[object] = []
        for entry_point in sorted(metadata.entry_points(group="flowcore"), key=lambda e: e.name):
            self._load(_describe(entry_point), entry_point.load)

    def add(self, plugin: object) -> None:
        """Add a plugin given as an object: a module of the user's own, or an instance.

        Raises:
            PluginError: If it implements a hook that does not exist.
            Exception: Whatever its hooks raise: the caller asked for this very plugin.
        """
        if not self._pm.is_registered(plugin):
            name = getattr(plugin, "__name__", type(plugin).__name__)
            self._given.append(plugin)
            self._register(Plugin(name, module=name), plugin, f"object {id(plugin)}")

    @property
    def failures(self) -> list[Plugin]:
        """The plugins that could not be loaded."""
        return [plugin for plugin in self.plugins if plugin.error]

    def add_user_code(self, catalog: Catalog = C) -> None:
        """Add what decorators registered; the user's own classes win over those of plugins."""
        self.catalog.merge(catalog, override=True)

    def hint(self, name: str) -> str:
        """Return what is known about a name that nobody registered; it may be nothing."""
        hints = [f"{plugin} could not be loaded: {plugin.error}" for plugin in self.failures]
        for module in self._given:
            if isinstance(found := getattr(module, name, None), type) and issubclass(found, Op):
                where = getattr(module, "__name__", type(module).__name__)
                hints.append(f"{where} defines it, but without @C.register_op()")
        if extra := _EXTRAS.get(name):
            hints.insert(
                0, f"the package flowcore-{extra} provides it, the extra flowcore[{extra}]"
            )
        return "; ".join(hints)

    def is_known_service(self, name: str) -> bool:
        """Whether a service of this name exists, installed or not."""
        return name in self.catalog.services or name in _SERVICES

    def lifespans(self, app: FlowApp) -> list[AbstractAsyncContextManager[object]]:
        """Return the context managers of all ``flowcore_lifespan`` hooks, in order of loading.

        Raises:
            PluginError: If a hook returns something else.
        """
        managers: list[AbstractAsyncContextManager[object]] = []
        for name, call in self._calls("flowcore_lifespan"):
            manager = call(app)
            if not hasattr(manager, "__aenter__"):
                raise PluginError(
                    f"plugin {name!r}: flowcore_lifespan must return an async context manager, "
                    f"not {manager!r}"
                )
            managers.append(manager)
        return managers

    def diagnose(self, config: FlowConfig, *, online: bool) -> list[Finding]:
        """Return what all ``flowcore_diagnose`` hooks tell; one that fails is a finding, too."""
        findings: list[Finding] = []
        for name, call in self._calls("flowcore_diagnose"):
            try:
                findings += call(config, online)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                text = f"its diagnosis failed: {type(error).__name__}: {error}"
                findings.append(Finding("plugins", name, text, "warning", "tell its authors"))
        return findings

    def observer(self) -> HookObserver | None:
        """Return what tells plugins of runs, or None if no plugin wants to know."""
        observer = HookObserver(self._calls)
        return observer if observer.is_needed else None

    def _load(self, plugin: Plugin, load: Callable[[], object]) -> None:
        try:
            module = load()
            self._register(plugin, module, f"entry point {plugin.name} of {plugin.distribution}")
        except DuplicateNameError:
            raise
        # A plugin may raise anything at import, also SystemExit; it must not take others down.
        except (Exception, SystemExit) as error:
            cause = f"{type(error).__name__}: {error}"
            logger.warning("%s could not be loaded: %s", plugin, cause)
            logger.debug("the traceback of %s", plugin, exc_info=error)
            self.plugins.append(replace(plugin, error=cause))

    def _register(self, plugin: Plugin, module: object, key: str) -> None:
        self._pm.register(module, name=key)
        try:
            registered = Catalog()
            hooks = self._call_registration_hooks(plugin, module, registered)
            self.catalog.merge(registered)
        except BaseException:
            self._pm.unregister(name=key)
            raise
        self.plugins.append(replace(plugin, hooks=tuple(hooks)))

    def _call_registration_hooks(
        self, plugin: Plugin, module: object, catalog: Catalog
    ) -> list[str]:
        registrars = catalog.registrars(str(plugin))
        names: list[str] = []
        for caller in self._pm.get_hookcallers(module) or []:
            if not caller.has_spec():
                known = [name for name in vars(hookspecs) if name.startswith("flowcore_")]
                raise PluginError(f"unknown hook {caller.name!r}{did_you_mean(caller.name, known)}")
            names.append(caller.name)
            argument = caller.name.removeprefix("flowcore_register_")
            for impl in caller.get_hookimpls():
                if impl.plugin is not module:
                    continue
                if impl.wrapper or impl.hookwrapper or iscoroutinefunction(impl.function):
                    raise PluginError(
                        f"{caller.name} must be a plain function, no wrapper or async"
                    )
                if argument in registrars:
                    impl.function(*[registrars[name] for name in impl.argnames])
        return sorted(names)

    def _calls(self, hook: str) -> Calls:
        """Return each implementation as a function of all the hook's arguments, in order."""
        caller = getattr(self._pm.hook, hook)
        return [(i.plugin_name, _taking(i, caller.spec.argnames)) for i in caller.get_hookimpls()]


class HookObserver:
    """Tells plugins of runs; what they raise is logged, once for each hook, and goes no further.

    Args:
        calls: Returns what implements a hook.

    Attributes:
        is_needed: Whether any plugin observes anything.
        sees_chunks: Whether any plugin wants to be told of chunks.
    """

    def __init__(self, calls: Callable[[str], Calls]) -> None:
        self._calls = {hook: calls(hook) for hook in _OBSERVING}
        self._logged: set[tuple[str, str]] = set()
        self.is_needed = any(self._calls.values())
        self.sees_chunks = bool(self._calls["flowcore_chunk"])

    def run_started(self, run: Run) -> None:
        """See ``flowcore_run_started``."""
        self._tell("flowcore_run_started", run)

    def run_finished(self, run: Run, error: BaseException | None) -> None:
        """See ``flowcore_run_finished``."""
        self._tell("flowcore_run_finished", run, error)

    def op_started(self, run: Run, op: Op) -> None:
        """See ``flowcore_op_started``."""
        self._tell("flowcore_op_started", run, op)

    def op_finished(self, run: Run, op: Op, error: BaseException | None) -> None:
        """See ``flowcore_op_finished``."""
        self._tell("flowcore_op_finished", run, op, error)

    def chunk(self, run: Run, chunk: FlowStreamChunk) -> None:
        """See ``flowcore_chunk``."""
        self._tell("flowcore_chunk", run, chunk)

    def _tell(self, hook: str, *arguments: object) -> None:
        for name, call in self._calls[hook]:
            try:
                call(*arguments)
            except Exception:
                if (name, hook) not in self._logged:
                    self._logged.add((name, hook))
                    logger.exception("plugin %r failed while it observed a run", name)


def _taking(impl: pluggy.HookImpl, arguments: Sequence[str]) -> Callable[..., Any]:
    function = impl.function
    if tuple(impl.argnames) == tuple(arguments):
        return function
    # pluggy lets an implementation leave arguments out; it passes the others by position.
    wanted = [arguments.index(name) for name in impl.argnames]
    return lambda *given: function(*[given[index] for index in wanted])


def _describe(entry_point: metadata.EntryPoint) -> Plugin:
    dist = entry_point.dist
    return Plugin(
        entry_point.name,
        distribution=dist.name if dist else "",
        version=dist.version if dist else "",
        module=entry_point.module,
    )
