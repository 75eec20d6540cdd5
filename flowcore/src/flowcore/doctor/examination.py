"""The whole diagnosis."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flowcore import __version__
from flowcore.doctor.configuration import load, look_at_limits, look_at_sources, make
from flowcore.doctor.installation import look_at_plugins, look_at_system, look_at_versions
from flowcore.doctor.models import look_at_models
from flowcore.doctor.secrecy import Secrets
from flowcore.errors import FlowcoreError
from flowcore.finding import Finding
from flowcore.plugins import PluginHost


@dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        findings: What was found, in the order of the sections.
    """

    findings: Sequence[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What keeps the service from doing its work."""
        return [found for found in self.findings if found.level == "problem"]

    @property
    def warnings(self) -> list[Finding]:
        """What may surprise."""
        return [found for found in self.findings if found.level == "warning"]

    @property
    def is_ready(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def sections(self) -> dict[str, list[Finding]]:
        """Return the findings by section; flowcore's own sections come first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.section, []).append(finding)
        return found

    def as_data(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "flowcore": __version__,
            "ready": self.is_ready,
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(
    names: Sequence[str] = (), overrides: Sequence[str] = (), *, online: bool = False
) -> Diagnosis:
    """Look at what is installed and configured; nothing is started, and no model is loaded.

    Args:
        names: The configurations, as for :func:`flowcore.load_config`.
        overrides: Overrides such as ``"http.port=8003"``.
        online: Whether to ask the services that models run on.
    """
    findings = [*look_at_versions()]
    host: PluginHost | None = None
    try:
        host = PluginHost()
        findings += look_at_plugins(host)
    except FlowcoreError as error:
        advice = "uninstall one of them; until then nothing can be started"
        findings.append(Finding("plugins", "conflict", str(error), "problem", advice))
    findings += look_at_sources(names, overrides)
    config, faults = load(names, overrides)
    findings += faults
    secrets = Secrets()
    secrets.learn(os.environ)
    if config is not None:
        secrets.learn(config.environment)
        secrets.learn(config.model_dump())
        app, faults = make(config) if host is not None else (None, [])
        findings += faults
        host = app.plugins if app is not None else host
        findings += look_at_limits(config)
        if host is not None:
            findings += look_at_models(config, host.catalog, app)
            findings += host.diagnose(config, online=online)
    findings += look_at_system()
    return Diagnosis(secrets.hide_all(_in_order(_merged(findings))))


_ORDER = ("installation", "plugins", "configuration", "models", "service", "limits", "system")


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for each thing: a plugin knows more of its own than flowcore does."""
    last = {(found.section, found.name): found for found in findings}
    faults: set[str] = set()
    merged: list[Finding] = []
    for found in last.values():
        if found.level != "problem" or found.text not in faults:
            merged.append(found)
        if found.level == "problem":
            faults.add(found.text)
    return merged


def _in_order(findings: Sequence[Finding]) -> list[Finding]:
    entries = [".".join(found.name.split(".")[:2]) for found in findings]

    def place(indexed: tuple[int, Finding]) -> tuple[int, int]:
        index, found = indexed
        section = _ORDER.index(found.section) if found.section in _ORDER else len(_ORDER)
        # What is told of one model stands together.
        return section, entries.index(entries[index]) if found.section == "models" else index

    return [found for _, found in sorted(enumerate(findings), key=place)]
