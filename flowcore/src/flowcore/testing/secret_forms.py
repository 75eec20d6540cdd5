"""What else stands for a secret: base64 of it, alone or as a part of something longer."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator

MIN_BYTES = 6
"""How long a secret has to be; less of it would be a few letters, which occur anywhere."""


def with_base64(secrets: Iterable[str]) -> list[str]:
    """Return secrets with the texts that base64 makes of them, the longest first."""
    forms = {form for secret in secrets for form in (secret, *_in_base64(secret))}
    return sorted(forms, key=len, reverse=True)


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
