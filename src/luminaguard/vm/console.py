"""What a guest's console showed, fit for a message."""

import re
from pathlib import Path

_LINES = 12
_BYTES = 64 * 1024
_TERMINAL_CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|.)")
"""Escape sequences. Source: ECMA-48, control sequences."""


def last_lines(console: Path) -> str:
    """Return the end of a console's text, without what could steer a terminal. Blocking."""
    try:
        text = console.read_bytes()[-_BYTES:].decode(errors="replace")
    except OSError:
        return "(nothing)"
    text = _TERMINAL_CONTROL.sub("", text)
    plain = "".join(char for char in text if char == "\n" or char.isprintable())
    return "\n".join(plain.splitlines()[-_LINES:]) or "(nothing)"
