"""What is installed: Python, flowcore, plugins, and the system below."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flowcore import __version__
from flowcore.finding import Finding
from flowcore.plugins import PluginHost

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def look_at_versions() -> Iterator[Finding]:
    """Tell the versions of Python, flowcore and what it needs."""
    python = f"{platform.python_version()} ({platform.python_implementation()})"
    yield Finding("installation", "flowcore", __version__, "ok")
    yield Finding("installation", "python", f"{python}, {sys.executable}")
    yield Finding("installation", "platform", platform.platform())
    needed: list[str] = []
    for requirement in metadata.requires("flowcore") or []:
        found = _NAME.match(requirement)
        if found and "extra ==" not in requirement:
            needed.append(found[0])
    shown: list[str] = []
    for name in sorted(needed):
        try:
            shown.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            advice = f"install it: pip install {name}"
            yield Finding("installation", name, "not installed", "problem", advice)
    yield Finding("installation", "dependencies", ", ".join(shown))


def look_at_plugins(host: PluginHost) -> Iterator[Finding]:
    """Tell which plugins there are, and why one could not be loaded."""
    if not host.plugins:
        advice = "install flowcore-http to serve, and a plugin for a model, such as flowcore-openai"
        yield Finding("plugins", "none", "no plugin is installed", "warning", advice)
    for plugin in host.plugins:
        shipped = f"{plugin.distribution} {plugin.version}".strip() or f"module {plugin.module}"
        if plugin.error:
            advice = (
                f"mend or uninstall it; to see where it fails: python -c 'import {plugin.module}'"
            )
            text = f"{shipped} could not be loaded: {plugin.error}"
            yield Finding("plugins", plugin.name, text, "problem", advice)
        elif plugin.distribution.startswith("flowcore-") and _is_ours(plugin.distribution):
            if plugin.version == __version__:
                yield Finding("plugins", plugin.name, shipped, "ok")
            else:
                text = f"{shipped} beside flowcore {__version__}"
                advice = f"install {plugin.distribution} {__version__} from where flowcore came"
                yield Finding("plugins", plugin.name, text, "warning", advice)
        else:
            yield Finding("plugins", plugin.name, shipped, "ok")


def look_at_system() -> Iterator[Finding]:
    """Tell what the system allows."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding == "utf8":
        yield Finding("system", "terminal", "UTF-8", "ok")
    else:
        text = f"{sys.stdout.encoding or 'unknown'}: not every answer can be shown"
        advice = "set PYTHONUTF8=1, or a UTF-8 locale"
        yield Finding("system", "terminal", text, "warning", advice)
    yield Finding("system", "folder", str(Path.cwd()))


def _is_ours(distribution: str) -> bool:
    """Whether a distribution has the version of flowcore."""
    required = f"flowcore=={metadata.version(distribution)}"
    return required in (metadata.requires(distribution) or [])
