"""What else stands for a secret: base64 of it, alone or as a part of something longer, or escapes.

The arguments of a tool call are JSON in a text, and an address may have a secret in its query.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MIN_BYTES = 6
"""How long a secret has to be; less of it would be a few letters, which occur anywhere."""


def all_forms(secrets: Iterable[str]) -> list[str]:
    """Return secrets with what base64, JSON and addresses make of them, the longest first."""
    forms = {
        form for secret in secrets for form in (secret, *_escaped(secret), *_in_base64(secret))
    }
    return sorted(forms, key=len, reverse=True)


def _escaped(secret: str) -> Iterator[str]:
    for is_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
    for escape in (quote, quote_plus):
        for safe in ("", "/"):
            yield escape(secret, safe, errors="surrogatepass")


def _in_base64(secret: str) -> Iterator[str]:
    data = secret.encode("utf-8", "surrogatepass")
    if len(data) < MIN_BYTES:
        return
    whole = b64encode(data).decode()
    for text in (whole, whole.rstrip("="), *_parts(data)):
        yield text
        yield text.translate(_TO_URLS)


def _parts(data: bytes) -> Iterator[str]:
    """Yield what all texts have in common that hold the bytes, such as `user:KEY` in base64.

    Three bytes make four characters, so it matters how many stand before. A character at either
    end may have bits of a neighbour, and is not part of it.
    """
    for before in range(3):
        bits = 8 * (before + len(data))
        first = -(-8 * before // 6)
        yield b64encode(bytes(before) + data).decode()[first : bits // 6]


_TO_URLS = str.maketrans("+/", "-_")
