"""Shell text as it was read, kept for a moment: a verdict and the rules look at the same text."""

from functools import lru_cache

from luminaguard.policy.shell.commands import Script
from luminaguard.policy.shell.walk import walked

_KEPT = 64
"""Texts; a call rarely holds more than a few, and each is at most as long as what is judged."""


@lru_cache(maxsize=_KEPT)
def reading(text: str, cwd: str) -> Script:
    """Return all commands and troubles of a text that starts in an absolute directory.

    The same value for the same text: to be looked at, never to be changed.
    """
    return walked(text, cwd)
