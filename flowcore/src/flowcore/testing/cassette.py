"""Recorded calls of models, and which of them answers a request."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from flowcore.errors import BackendError, ConfigError
from flowcore.testing.cassette_file import Recording, read, request_text, write

__all__ = ["Cassette", "Mode", "Recording", "default_mode"]

Mode = Literal["once", "none", "all"]
MAX_DIFF_LINES = 60


def default_mode() -> Mode:
    """Return the mode where none is given: ``FLOWCORE_RECORD``, else ``none`` in CI, else ``once``.

    Raises:
        ConfigError: If the variable holds no mode.
    """
    named = os.environ.get("FLOWCORE_RECORD", "")
    if named in {"once", "none", "all"}:
        return cast("Mode", named)
    if named:
        text = f"write once, none or all, not {named!r}"
        raise ConfigError(text, "environment variable FLOWCORE_RECORD")
    return "none" if os.environ.get("CI", "").lower() not in {"", "0", "false"} else "once"


class Cassette:
    """A file of recorded calls.

    A recording answers a request that is equal to its own; equal ones answer in the order in which
    they were recorded, each once. What is asked at the same time does not have to come in order.

    Args:
        path: The file.
        mode: ``once`` records where there is no file, ``none`` never, ``all`` always, in place of
            what there is.
        repeat: Whether a request that has been answered is answered again.
        ignore: Regular expressions for what may differ in texts, such as a date.

    Attributes:
        recordings: What it holds.
        misses: What was said of requests that no recording answers.
    """

    def __init__(
        self, path: Path, mode: Mode = "once", *, repeat: bool = False, ignore: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.recordings: list[Recording] = []
        self.misses: list[str] = []
        self._repeat = repeat
        self._ignored = [re.compile(pattern) for pattern in ignore]
        self._played: set[int] = set()
        self._kept: list[bool] = []
        self._secrets: set[str] = set()
        exists = path.is_file()
        self.is_recording = mode == "all" or (mode == "once" and not exists)
        if exists and not self.is_recording:
            self.recordings = read(path)
        elif not self.is_recording:
            text = f"there is no cassette {path}; to record it: pytest --record=once"
            raise BackendError(text, code="cassette_missing")

    @property
    def unused(self) -> list[Recording]:
        """The recordings that nothing has asked for."""
        if self.is_recording:
            return []
        return [r for number, r in enumerate(self.recordings) if number not in self._played]

    def find(self, request: Mapping[str, Any]) -> Recording:
        """Return the recording that answers a request.

        Raises:
            BackendError: If there is none; the message compares it with the nearest.
        """
        wanted = self._key(request)
        same = [n for n, r in enumerate(self.recordings) if self._key(r.request) == wanted]
        fresh = [number for number in same if number not in self._played]
        if not fresh and self._repeat and same:
            self._played.difference_update(same)
            fresh = same
        if not fresh:
            text = self._miss(request, len(same))
            self.misses.append(text)
            raise BackendError(text, code="cassette_mismatch")
        self._played.add(fresh[0])
        return self.recordings[fresh[0]]

    def begin(self, request: dict[str, Any]) -> Recording:
        """Return a new recording, whose place is that of its beginning."""
        recording = Recording(request)
        self.recordings.append(recording)
        self._kept.append(False)
        return recording

    def keep(self, recording: Recording, secrets: Sequence[str] = ()) -> None:
        """Write a recording that is complete, with all others that are.

        Args:
            recording: What :meth:`begin` returned.
            secrets: Texts that must not get into the file.
        """
        place = next(n for n, other in enumerate(self.recordings) if other is recording)
        self._kept[place] = True
        complete = [r for r, kept in zip(self.recordings, self._kept, strict=True) if kept]
        # Models with keys of their own may share the file, which is written anew each time.
        self._secrets |= set(secrets)
        write(self.path, complete, sorted(self._secrets, key=len, reverse=True))

    def _key(self, request: Mapping[str, Any]) -> str:
        text = json.dumps(request, sort_keys=True, ensure_ascii=False)
        for pattern in self._ignored:
            text = pattern.sub("***", text)
        return text

    def _miss(self, request: Mapping[str, Any], times: int) -> str:
        remedy = "if that is meant, record it anew: pytest --record=all"
        if times:
            return (
                f"{self.path} answers this request {times} times, and it was asked once more; "
                f"{remedy}\n{request_text(request)}"
            )
        asked = request_text(request)
        texts = [request_text(recording.request) for recording in self.recordings]
        if not texts:
            return f"{self.path} holds no recording; {remedy}\n{asked}"
        ratios = [difflib.SequenceMatcher(None, text, asked).quick_ratio() for text in texts]
        nearest = ratios.index(max(ratios))
        diff = [
            line.rstrip("\n")
            for line in difflib.unified_diff(
                texts[nearest].splitlines(), asked.splitlines(), "recorded", "asked", lineterm=""
            )
        ]
        if len(diff) > MAX_DIFF_LINES:
            diff = [*diff[:MAX_DIFF_LINES], f"… {len(diff) - MAX_DIFF_LINES} lines more"]
        return (
            f"{self.path} has no recording that answers this request; the nearest, number "
            f"{nearest + 1}, differs; {remedy}\n" + "\n".join(diff)
        )
