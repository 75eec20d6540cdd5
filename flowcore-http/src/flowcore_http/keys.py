"""The keys of a service, each with the name of its holder: where they come from, what they match.

Source: RFC 6750, "Bearer Token Usage", section 2.1, for the characters of a key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from flowcore import ConfigError

logger = logging.getLogger("flowcore.http")

MIN_LENGTH = 16
_MAX_FILE_BYTES = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe())"'


class Keys:
    """Tells whose key it is that somebody presents.

    Args:
        keys: The keys by the names of their holders.
    """

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        # Hashes under a secret of this process: how long a comparison takes tells nothing.
        self._salt = secrets.token_bytes(32)
        self._hashes = [(self._hash(key.get_secret_value()), name) for name, key in keys.items()]

    def __len__(self) -> int:
        return len(self._hashes)

    def holder(self, presented: str) -> str:
        """Return the name of the holder of a key, or an empty string; the work is always the same.

        Args:
            presented: What somebody says is a key; empty if nothing.
        """
        digest = self._hash(presented)
        found = ""
        for known, name in self._hashes:
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _hash(self, key: str) -> bytes:
        data = key.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._salt, digest_size=32).digest()


def load_keys(given: Mapping[str, SecretStr], file: Path | None) -> Keys:
    """Return the keys that are given and those of a file.

    Args:
        given: Keys by name, checked by :func:`check_keys`.
        file: A text file with a line ``name: key``, or only a key, for each; ``#`` begins a
            comment line.

    Raises:
        ConfigError: If the file cannot be read, a line of it is wrong, or a name or a key stands
            twice.
    """
    keys = dict(given)
    if file is not None:
        for name, key in _read(file).items():
            if name in keys:
                raise ConfigError(f"the name {_shown(name)} stands in http.api_keys too", str(file))
            keys[name] = key
        try:
            check_keys(keys)
        except ValueError as error:
            raise ConfigError(f"http.api_keys: {error}", str(file)) from None
    return Keys(keys)


def check_keys(keys: Mapping[str, SecretStr]) -> None:
    """Check that there are keys, that each can be sent and not be guessed, and is there once.

    Raises:
        ValueError: If not; the text names the holder and never the key.
    """
    if not keys:
        raise ValueError("there is no key; leave the setting out to serve without keys")
    owners: dict[str, str] = {}
    for name, key in keys.items():
        _check(name, key.get_secret_value())
        other = owners.setdefault(key.get_secret_value(), name)
        if other != name:
            raise ValueError(f"{_shown(other)} and {_shown(name)} have the same key")


def _check(name: str, key: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a key has letters, digits, '_', '.', '@' and '-', 64 at most; "
            f"{_shown(name)} is none"
        )
    if len(key) < MIN_LENGTH:
        raise ValueError(
            f"the key of {_shown(name)} is shorter than {MIN_LENGTH} characters, and could be "
            f"guessed; make one: {_MAKE_ONE}"
        )
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"the key of {_shown(name)} has characters other than letters, digits and -._~+/ "
            f"(with = at the end); make one: {_MAKE_ONE}"
        )


def _shown(name: str) -> str:
    # Who mixes up name and key shall not find the key in a log.
    return repr(name if len(name) < MIN_LENGTH else f"{name[:4]}…")


def _read(path: Path) -> dict[str, SecretStr]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise ConfigError(f"http.api_keys_file cannot be read: {reason}", str(path)) from None
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigError("http.api_keys_file is larger than 1 MB", str(path))
    if os.name == "posix" and mode & stat.S_IROTH:
        logger.warning("%s: every user of this machine can read the keys; chmod 600 it", path)
    keys: dict[str, SecretStr] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, colon, key = content.partition(":")
        name, key = (name.strip(), key.strip()) if colon else (f"line-{number}", content)
        try:
            _check(name, key)
        except ValueError as error:
            raise ConfigError(str(error), f"{path}:{number}") from None
        if name in keys:
            raise ConfigError(f"the name {_shown(name)} stands twice", f"{path}:{number}")
        keys[name] = SecretStr(key)
    if not keys:
        message = "http.api_keys_file holds no key; leave the setting out to serve without keys"
        raise ConfigError(message, str(path))
    return keys
