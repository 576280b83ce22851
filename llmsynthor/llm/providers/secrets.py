"""Keeping keys out of what people read."""

from __future__ import annotations

import os
import re

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.I)
_SHORTEST_SECRET = 8
"""Characters. A shorter value keeps nothing secret: it is what a server that asks for any key gets
(`none`, `EMPTY`, `abc`), and striking it out everywhere would cut words out of prompts and errors."""


def scrubbed(text: str, key_env: str | None) -> str:
    """Return `text` without the value of any key that may have been sent.

    Values of fewer than 8 characters stay, whichever variable they are in.

    Args:
        text: An error's words.
        key_env: The environment variable that the job names for its key.
    """
    secrets = {
        value.strip()
        for name, value in os.environ.items()
        if len(value.strip()) >= _SHORTEST_SECRET and (name == key_env or _SECRET_NAME.search(name))
    }
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, "***")
    return text
