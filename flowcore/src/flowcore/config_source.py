"""The layers of a configuration, each a mapping that knows where its values were said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from flowcore.errors import ConfigError, did_you_mean
from flowcore.shipped import shipped_folders
from flowcore.validation import Origins
from flowcore.yaml_fault import pointed_at, yaml_fault
from flowcore.yaml_text import MALFORMED, MAX_NODES, TextOrigin, YamlLoader, parse_yaml

ENV_PREFIX = "FLOWCORE_"
NOT_CONFIG = frozenset(
    {
        *(ENV_PREFIX, "FLOWCORE_API_KEY", "FLOWCORE_LOG_FORMAT", "FLOWCORE_LOG_LEVEL"),
        "FLOWCORE_RECORD",
    }
)
MAX_DEPTH = 64
SUFFIXES = (".yaml", ".yml")
"""What the names of configs end with."""
_TEXT_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")
)
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")


class Layer(NamedTuple):
    """Values, nested, and where each of them was said."""

    data: dict[str, Any]
    origins: Origins


def yaml_layer(path: Path, environment: Mapping[str, str]) -> Layer:
    """Read a YAML file, with ``${NAME}`` and ``${NAME:-default}`` filled from ``environment``.

    ``$$`` stands for a single ``$``.

    Raises:
        ConfigError: If the file cannot be read, is not a mapping, repeats a key, or names a
            variable that is not set.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        loader = YamlLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Layer({}, Origins())
            if not isinstance(root, yaml.MappingNode):
                raise ConfigError(
                    "the file must hold a mapping, such as `backend: http`", f"{path}:1"
                )
            origins = Origins()
            _prepare(root, loader, path, text, environment, origins)
            data: dict[str, Any] = loader.construct_document(root)  # pyright: ignore[reportUnknownMemberType]
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        message, line, column = yaml_fault(error, text)
        message = f"not valid YAML: {message}{pointed_at(text, line, column)}"
        raise ConfigError(message, f"{path}:{line}:{column}") from None
    except (OSError, yaml.YAMLError, *MALFORMED) as error:
        raise ConfigError(f"cannot be read: {error}", str(path)) from None
    return Layer(data, origins)


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Take ``FLOWCORE_A__B=value`` for ``a.b``; names are lower-cased."""
    layer = Layer({}, Origins())
    for name, value in sorted(environment.items()):
        if name.startswith(ENV_PREFIX) and name not in NOT_CONFIG:
            keys = name.removeprefix(ENV_PREFIX).lower().split("__")
            _set(layer, keys, value, f"environment variable {name}")
    return layer


def override_layer(overrides: Iterable[str]) -> Layer:
    """Take ``"a.b=value"`` for ``a.b``.

    Raises:
        ConfigError: If an override has another form, or contradicts an earlier one.
    """
    layer = Layer({}, Origins())
    for override in overrides:
        key, equals, value = override.partition("=")
        if not (equals and key and all(key.split("."))):
            raise ConfigError(
                f"write it as key=value or section.key=value, not {override!r}", "argument"
            )
        _set(layer, key.split("."), value, f"argument {key}=…")
    return layer


def mapping_layer(data: Mapping[str, Any]) -> Layer:
    """Take a mapping as it is."""
    return Layer(dict(data), Origins({(): "config mapping"}))


def find_config(name: str) -> Path:
    """Return the file that ``config=name`` means.

    A path to a file, or a bare name: ``NAME``, ``NAME.yaml`` and ``NAME.yml`` in the current
    folder, then ``configs/NAME.yaml`` in flowcore and in the packages of installed plugins.

    Raises:
        ConfigError: If there is no such file, or several packages ship one of that name.
    """
    for candidate in config_candidates(name):
        # Unlike Path.is_file, this takes a name that no file system would.
        if os.path.isfile(candidate):  # noqa: PTH113
            return candidate
    packaged = packaged_configs()
    here = [path.stem for path in Path().glob("*.y*ml")]
    found = packaged.get(name, [])
    if len(found) > 1:
        places = ", ".join(map(str, found))
        raise ConfigError(f"several packages ship a config {name!r}: {places}; give the path")
    if not found:
        guess = did_you_mean(name, [*here, *packaged])
        raise ConfigError(
            f"no config {name!r}: neither {name}, {name}.yaml nor {name}.yml is a file in "
            f"{Path.cwd()}, and no installed package ships one{guess}; "
            f"packaged configs: {', '.join(sorted(packaged))}"
        )
    return found[0]


def config_candidates(name: str) -> list[Path]:
    """Return the files that ``config=name`` means, as soon as they exist; the first one wins."""
    return [Path(f"{name}{suffix}") for suffix in ("", *SUFFIXES)]


def packaged_configs() -> dict[str, list[Path]]:
    """Return the configs that flowcore and installed plugins ship, by name."""
    configs: dict[str, list[Path]] = {}
    for _, folder in shipped_folders("configs"):
        for path in sorted(folder.glob("*.yaml")):
            configs.setdefault(path.stem, []).append(path)
    return configs


def _prepare(
    root: yaml.MappingNode,
    loader: YamlLoader,
    path: Path,
    text: str,
    environment: Mapping[str, str],
    origins: Origins,
) -> None:
    """Refuse repeated keys, note where values stand, and fill in variables."""
    pending: list[tuple[tuple[str | int, ...], yaml.Node]] = [((), root)]
    filled: set[int] = set()
    while pending:
        keys, node = pending.pop()
        line = f"{path}:{node.start_mark.line + 1}"
        origins.setdefault(keys, line)
        if node.tag not in _TAGS:
            raise ConfigError(f"the YAML tag {node.tag!r} is not supported", line)
        # Aliases let a few lines stand for billions of nodes, or for themselves.
        if len(origins) > MAX_NODES or len(keys) > MAX_DEPTH:
            limits = f"{MAX_NODES} values or {MAX_DEPTH} levels"
            raise ConfigError(f"the file has more than {limits}, perhaps through aliases", line)
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key_node, value_node in node.value:
                at = f"{path}:{key_node.start_mark.line + 1}"
                if not isinstance(key_node, yaml.ScalarNode):
                    raise ConfigError("a key must be a text, not a list or a mapping", at)
                key = str(key_node.value)
                if key_node.tag != _MERGE_TAG:
                    # YAML takes `on`, `5` and `null` for something else; a key is what was typed.
                    key_node.tag = _TEXT_TAG
                if key in seen and key != "<<":
                    raise ConfigError(
                        f"the key {key!r} stands twice in one mapping, first in line {seen[key]}; "
                        "keep one, with all that is below both",
                        at,
                    )
                seen[key] = key_node.start_mark.line + 1
                if isinstance(value_node, yaml.ScalarNode):
                    at = TextOrigin(at, str(path), text, value_node.start_mark.index)
                origins[(*keys, key)] = at
                pending.append(((*keys, key), value_node))
        elif isinstance(node, yaml.SequenceNode):
            pending += [((*keys, index), item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode) and "$" in node.value and id(node) not in filled:
            filled.add(id(node))
            node.value = _fill(node.value, environment, line)
            # A plain ${PORT} is the number that the variable holds, a quoted one is text.
            if node.style is None:
                node.tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # pyright: ignore[reportUnknownMemberType]


def _fill(text: str, environment: Mapping[str, str], origin: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "$"
        found = environment.get(name) or default
        if found is None and name not in environment:
            guess = did_you_mean(name, environment)
            raise ConfigError(
                f"the environment variable {name} is not set{guess}; set it, put it into .env, "
                f"or write ${{{name}:-default}}",
                origin,
            )
        return found or ""

    return _VARIABLE.sub(value, text)


def _set(layer: Layer, keys: list[str], value: str, origin: str) -> None:
    section = layer.data
    for depth, key in enumerate(keys[:-1], 1):
        inner: Any = section.setdefault(key, {})
        if isinstance(inner, dict):
            section = cast("dict[str, Any]", inner)
        else:
            raise ConfigError(
                f"{'.'.join(keys[:depth])} is given a value and keys of its own", origin
            )
    parsed = _parse(value)
    if isinstance(section.get(keys[-1]), dict) and not isinstance(parsed, dict):
        raise ConfigError(f"{'.'.join(keys)} is given a value and keys of its own", origin)
    section[keys[-1]] = parsed
    layer.origins[tuple(keys)] = origin


def _parse(text: str) -> Any:
    """Read a value as YAML does, but take for a list or mapping only what is bracketed."""
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | dict) and text.lstrip()[:1] in {"[", "{"}:
        return value  # pyright: ignore[reportUnknownVariableType]
    return None if text in {"null", "~"} else text
