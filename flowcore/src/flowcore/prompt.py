"""Prompt texts kept in YAML files beside the ops that use them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml

from flowcore.errors import PromptError, did_you_mean
from flowcore.yaml_text import parse_yaml

logger = logging.getLogger("flowcore")

MAX_PROMPT_FILE_BYTES = 4 * 1024 * 1024
_GAP = re.compile(r"{(\w+)}")
_NAME = re.compile(r"[\w.-]{1,100}")


class Prompts:
    """The prompts of one op.

    Args:
        path: The YAML file, a mapping of names to texts; None where the op has none.
        language: Suffix of the preferred variants, such as ``"zh"`` for ``name_zh``.
        place: Where the file would be, for messages.

    Raises:
        PromptError: If the file is not such a mapping.
    """

    def __init__(self, path: Path | None, language: str = "", *, place: Path | None = None) -> None:
        self._path = path
        self._place = place
        self._language = language
        self._texts = _load(path) if path else MappingProxyType[str, str]({})
        self._warned: set[str] = set()

    def get(self, name: str) -> str:
        """Return a prompt: the variant in the op's language if there is one, else the plain one.

        Raises:
            PromptError: If there is no such prompt.
        """
        for variant in (f"{name}_{self._language}", name):
            if variant in self._texts:
                return self._texts[variant]
        where = f"in {self._path}" if self._path else "because the op has no prompt file"
        if self._path is None and self._place is not None:
            where += f", which would be {self._place}"
        raise PromptError(f"no prompt {name!r} {where}{did_you_mean(name, self._texts)}")

    def format(self, name: str, values: dict[str, Any]) -> str:
        """Return a prompt with ``{name}`` replaced by the value of that name.

        Only the given names are replaced, once: other braces stay as they are, also those in the
        values. A boolean value is a switch: a line that begins with ``[name]`` stays, without
        that mark, if the value is true, and goes if it is false.

        Raises:
            PromptError: If there is no such prompt.
        """
        text = self.get(name)
        switches = {key: on for key, on in values.items() if isinstance(on, bool)}
        if switches:
            text = _switch_lines(text, switches)
        texts = {key: str(value) for key, value in values.items() if key not in switches}
        if not texts:
            return text
        self._warn_of_misspelt(name, text, texts)
        pattern = re.compile("{(" + "|".join(map(re.escape, texts)) + ")}")
        return pattern.sub(lambda match: texts[match[1]], text)

    def _warn_of_misspelt(self, name: str, text: str, values: dict[str, str]) -> None:
        # No error: a variant of a prompt need not use every value, nor is all in braces a gap.
        gaps = set(_GAP.findall(text))
        for key in values.keys() - gaps - self._warned:
            if guess := did_you_mean(key, gaps - values.keys()):
                self._warned.add(key)
                logger.warning("prompt %r of %s has no {%s}%s", name, self._path, key, guess)


def prompt_file(source: Path) -> Path:
    """Return the prompt file of an op defined in ``source``: ``x_op.py`` → ``x_prompt.yaml``."""
    stem = source.stem.removesuffix("op").removesuffix("_")
    return source.with_name(f"{stem}_prompt.yaml" if stem else "prompt.yaml")


def _load(path: Path) -> MappingProxyType[str, str]:
    try:
        # A pipe or a device might never end.
        if path.exists() and not path.is_file():
            raise PromptError(f"prompt file {path} is not a regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_PROMPT_FILE_BYTES + 1)
        if len(raw) > MAX_PROMPT_FILE_BYTES:
            raise PromptError(f"prompt file {path} is larger than {MAX_PROMPT_FILE_BYTES} bytes")
        texts: Any = parse_yaml(raw.decode("utf-8"))
    except FileNotFoundError:
        guess = did_you_mean(path.name, [near.name for near in path.parent.glob("*.y*ml")])
        raise PromptError(
            f"cannot read the prompt file {path}: there is no such file{guess}"
        ) from None
    # ValueError: bytes that are not UTF-8, or a path that no file can have.
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PromptError(f"cannot read the prompt file {path}: {error}") from error
    if not isinstance(texts, dict | None):
        raise PromptError(f"prompt file {path} must be a mapping of names to texts")
    texts = cast("dict[object, object]", texts or {})
    for name, text in texts.items():
        if not (isinstance(name, str) and isinstance(text, str)):
            # What looks like no name may be a line of a file that was named by mistake.
            known = isinstance(name, str) and _NAME.fullmatch(name)
            what = repr(name) if known else "every name and every prompt"
            raise PromptError(f"prompt file {path}: {what} must be a text")
    return MappingProxyType(cast("dict[str, str]", texts))


def _switch_lines(text: str, switches: dict[str, bool]) -> str:
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        match = re.match(r"\[(\w+)\]", line)
        if match and match[1] in switches:
            if switches[match[1]]:
                kept.append(line[match.end() :])
        else:
            kept.append(line)
    return "".join(kept)
