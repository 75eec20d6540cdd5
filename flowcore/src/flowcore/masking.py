"""What may be secret, by its name or its place in a URL, and is not to be shown."""

from __future__ import annotations

import re

PART_OF_NAME = r"key|token|secret|passw|credential|auth|cookie"
"""What the names of secrets contain, as a regular expression; rather too much than too little."""

_NAME = re.compile(PART_OF_NAME, re.IGNORECASE)
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret, as far as a name tells."""
    return _NAME.search(name) is not None


def mask_users(text: str, mask: str) -> str:
    """Return a text with a mask in place of the users of URLs, and of their passwords."""
    return _USER_OF_URL.sub(mask, text)
