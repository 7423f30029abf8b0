"""From the C library's words for errors to their names: programs tell the words."""

import errno
import os

_NAMES = {os.strerror(number).lower(): name for number, name in errno.errorcode.items()} | {
    "resource temporarily unavailable": "EAGAIN",
}


def error_name(message: str) -> str:
    """Return the name of the error that a program's message ends with, else the message.

    Source: strerror(3) in the C locale, which programs of the doctor are started in.
    """
    words = message.strip().rstrip(".").lower()
    longest = max((text for text in _NAMES if words.endswith(text)), key=len, default=None)
    return message.strip() if longest is None else _NAMES[longest]
