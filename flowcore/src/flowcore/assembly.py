"""Putting together what an app is made of: its backends and its flows, checked all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcore.config import FlowConfig
from flowcore.errors import ConfigError, OpDefinitionError, UnknownNameError, did_you_mean
from flowcore.flow import Flow
from flowcore.leftover import instead_of_key
from flowcore.op import Op, check_op
from flowcore.plugins import PluginHost
from flowcore.resources import SharedBackends
from flowcore.user_op import UserOp
from flowcore.validation import Faults, validate_section


def assemble(
    config: FlowConfig, plugins: PluginHost, given: Mapping[str, Op | Flow]
) -> tuple[SharedBackends, Mapping[str, Flow]]:
    """Check the sections of services, and return the backends and the flows of an app.

    Args:
        config: The configuration.
        plugins: What is registered.
        given: Flows made in Python, by name.

    Raises:
        ConfigError: If anything is wrong; all that is wrong is told.
    """
    faults = Faults()
    for name, section in config.sections.items():
        with faults.noted():
            _check_section(name, section, config, plugins)
    backends: SharedBackends | None = None
    with faults.noted():
        backends = SharedBackends(config, plugins.catalog, plugins.hint)
    flows = _compile(config, plugins, given, faults)
    for name, flow in flows.items():
        origin = config.origins.find(("flow", name, "flow_content"))
        for _, op in flow.walk():
            if isinstance(op, UserOp):
                _check_names(op, flow, config, origin, faults)
    faults.raise_all()
    assert backends is not None  # noqa: S101 - for the type checker: there was no fault
    return backends, flows


def _check_section(name: str, section: Any, config: FlowConfig, plugins: PluginHost) -> None:
    services = plugins.catalog.services
    if name in services:
        validate_section(services[name].Settings, section or {}, config.origins, (name,))
    elif not plugins.is_known_service(name):
        known = [*FlowConfig.model_fields, *services]
        error = str(UnknownNameError("key", name, known, plugins.hint(name)))
        for service in services:
            if name in services[service].Settings.model_fields:
                error = f"unknown key {name!r}; did you mean '{service}.{name}'?"
        if instead := instead_of_key((name,)):
            error = f"unknown key {name!r}, which is FlowLLM's: {instead}"
        raise ConfigError(error, config.origins.find((name,)))
    # Else it is not installed: only what starts a service needs it.


def _compile(
    config: FlowConfig, plugins: PluginHost, given: Mapping[str, Op | Flow], faults: Faults
) -> dict[str, Flow]:
    flows: dict[str, Flow] = {}
    ops, language = plugins.catalog.ops, config.language

    def hint(name: str) -> str:
        guess = plugins.hint(name) or did_you_mean(name, ops)
        return plugins.hint(name) if guess else _what_is_loaded(config)

    for name, settings in config.flow.items():
        origin = config.origins.find(("flow", name, "flow_content"))
        with faults.noted():
            flows[name] = Flow.compile(
                name, settings, ops, language=language, origin=origin, hint=hint
            )
    for name, flow in given.items():
        with faults.noted():
            if name in config.flow:
                raise ConfigError(f"flow {name!r} is in the configuration and given as an object")
            flows[name] = flow if isinstance(flow, Flow) else _flow_of(name, flow, language)
    return flows


def _what_is_loaded(config: FlowConfig) -> str:
    """Tell where an op could come from; the list of one file replaces that of another."""
    modules, origin = ", ".join(config.imports), config.origins.find(("imports",))
    where = f"{modules}, as {origin or 'the configuration'} says" if modules else "which is empty"
    return (
        "no installed plugin provides it, nor does a module under `imports` "
        f"({where}); `flowcore plugins` lists the plugins"
    )


def _check_names(op: UserOp, flow: Flow, config: FlowConfig, origin: str, faults: Faults) -> None:
    for kind, name in op.named_backends().items():
        known: Mapping[str, object] = getattr(config, kind)
        # Most ops use none: "default" is looked for when an op asks for it.
        if name != "default" and name not in known:
            error = UnknownNameError(kind, name, known, f"configure it under {kind}.{name}")
            with faults.noted():
                raise ConfigError(f"flow {flow.name!r}, op {op.name!r}: {error}", origin)


def _flow_of(name: str, op: Op, language: str) -> Flow:
    try:
        return Flow(name, check_op(op, f"flow {name!r}"), language=language)
    except OpDefinitionError as error:
        raise ConfigError(str(error)) from None
