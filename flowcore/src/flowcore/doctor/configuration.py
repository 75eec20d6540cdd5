"""What is configured: the files and variables that were found, and the app that they make."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from flowcore.app import FlowApp
from flowcore.backend import KINDS
from flowcore.config import FlowConfig, load_config
from flowcore.config_source import find_config
from flowcore.doctor.secrecy import hide_assigned
from flowcore.errors import ConfigError
from flowcore.finding import Finding
from flowcore.limits import Deadlines

_ENTRIES = ("embedding_model", "llm", "vector_store", "flow")  # each may name those before it
_PREFIXES = ("FLOWCORE_", "FLOW_")


def look_at_sources(names: Sequence[str], overrides: Sequence[str]) -> Iterator[Finding]:
    """Tell which files and variables make the configuration, the strongest first."""
    if overrides:
        keys = ", ".join(override.partition("=")[0] for override in overrides)
        yield Finding("configuration", "arguments", keys)
    if variables := _ours(os.environ):
        yield Finding("configuration", "environment", variables)
    dotenv = Path(".env")
    if dotenv.is_file():
        try:
            text = _ours(dotenv_values(dotenv)) or "sets nothing of flowcore's"
            yield Finding("configuration", ".env", text)
        except (OSError, UnicodeDecodeError) as error:
            advice = "mend or remove it"
            yield Finding("configuration", ".env", f"cannot be read: {error}", "problem", advice)
    for name in reversed([*names] or ["default"]):
        try:
            path = find_config(name)
        except ConfigError:
            continue  # loading it says so
        note = "" if names else "; no config=NAME was given"
        yield Finding("configuration", f"config={name}", f"{path}{note}")


def load(names: Sequence[str], overrides: Sequence[str]) -> tuple[FlowConfig | None, list[Finding]]:
    """Return the configuration, if it can be loaded, or what is wrong with it."""
    try:
        return load_config(*names, *overrides), []
    except ConfigError as error:
        text = hide_assigned(str(error))
        if text != str(error) or "YAML" in text:
            # It quotes a line of a file, and with it a key that nobody has read; it may be one
            # that YAML takes for an alias or a tag: !abc.
            text = re.sub(r"(alias|tag|anchor) '\S*'", r"\1 ***", text.partition("\n")[0])
        advice = "mend it; what depends on it was not looked at"
        return None, [Finding("configuration", "not loaded", text, "problem", advice)]


def make(config: FlowConfig) -> tuple[FlowApp | None, list[Finding]]:
    """Return an app of what is right in a configuration, and what is wrong with the rest.

    The app is None if no app can be made at all.
    """
    found: list[Finding] = []
    try:
        app = FlowApp(config)
    # Whatever is imported may raise anything.
    except Exception as error:  # noqa: BLE001
        app, found = _make_of_parts(config, error)
    if app is None:
        return None, found
    if app.flows:
        found.append(Finding("configuration", "flows", ", ".join(app.flows), "ok"))
    elif not config.flow:
        advice = "give config=NAME, or add flows to the configuration"
        found.append(Finding("configuration", "flows", "none", "warning", advice))
    try:
        app.service().check(app)
    except Exception as error:  # noqa: BLE001
        name, advice = f"backend: {config.backend}", "mend it, or choose another `backend`"
        found.append(Finding("service", name, str(error), "problem", advice))
    return app, found


def _make_of_parts(
    config: FlowConfig, whole_error: Exception
) -> tuple[FlowApp | None, list[Finding]]:
    """Add one part of a configuration after the other, and leave out those that are wrong."""
    right: dict[str, Any] = {name: {} for name in _ENTRIES}
    found: list[Finding] = []
    told: set[str] = set()
    left_out: dict[str, str] = {}
    app: FlowApp | None = None
    for kind, name in [("imports", ""), *_parts(config)]:
        trial = {**right}
        if name:
            trial[kind] = {**right[kind], name: getattr(config, kind)[name]}
        elif kind != "imports":
            trial[kind] = config.sections[kind]
        try:
            app = FlowApp(_with_only(config, trial))
            right = trial
        except Exception as error:  # noqa: BLE001 - see above
            part = f"{kind}.{name}" if name else kind
            text, needed = _own_faults(str(error), left_out)
            if kind in KINDS:
                left_out[f"unknown {kind} {name!r}"] = part
            if not text:
                text = f"left out, for it needs {', '.join(needed)}"
                found.append(Finding("configuration", part, text))
            elif text not in told:
                told.add(text)
                advice = "mend it; `flowcore check` with the same settings checks this alone"
                found.append(Finding("configuration", part, text, "problem", advice))
            if kind == "imports":
                break  # nothing else can be told from what follows from this
    if not found:
        found.append(Finding("configuration", "flows", str(whole_error), "problem", "mend it"))
    return app, found


def _with_only(config: FlowConfig, parts: Mapping[str, Any]) -> FlowConfig:
    """Return a copy with other entries, and of the sections only those that are given."""
    copied = config.model_copy(update=dict(parts))
    for name in config.sections.keys() - parts.keys():
        (copied.model_extra or {}).pop(name)
    return copied


def _own_faults(text: str, left_out: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the faults that do not merely follow from what was left out, and what that was.

    Args:
        text: All faults of a part, a line for each.
        left_out: By what is said of an entry that is missing, the entry that was left out.
    """
    own: list[str] = []
    needed: dict[str, None] = {}
    for line in text.split("\n"):
        entries = [entry for said, entry in left_out.items() if said in line]
        needed |= dict.fromkeys(entries)
        if not entries:
            own.append(line)
    return "\n".join(own), [*needed]


def _parts(config: FlowConfig) -> Iterator[tuple[str, str]]:
    yield from ((section, "") for section in config.sections)
    for kind in _ENTRIES:
        yield from ((kind, name) for name in getattr(config, kind))


def look_at_limits(config: FlowConfig) -> Iterator[Finding]:
    """Tell the limits and deadlines of runs, and where each comes from."""
    for name in Deadlines.model_fields:
        value = getattr(config.deadlines, name)
        yield Finding.of_setting(config, ("deadlines", name), value, "s")
    for flow, settings in config.flow.items():
        own = settings.deadlines
        for name in sorted(own.model_fields_set):
            path = ("flow", flow, "deadlines", name)
            yield Finding.of_setting(config, path, getattr(own, name), "s")
    for name, unit in (
        ("max_concurrent_runs", ""),
        ("thread_pool_max_workers", "threads"),
        ("max_chunk_bytes", "bytes"),
        ("max_answer_bytes", "bytes"),
        ("stream_buffer_chunks", "chunks"),
        ("stream_buffer_bytes", "bytes"),
    ):
        yield Finding.of_setting(config, (name,), getattr(config, name), unit)


def _ours(variables: Iterable[str]) -> str:
    return ", ".join(sorted(name for name in variables if name.startswith(_PREFIXES)))
