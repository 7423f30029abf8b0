"""Secrets that do not show themselves, and foreign text that is safe to show."""

from collections.abc import Iterable
from dataclasses import dataclass

from luminaguard.domain.visible import visible

SHOWN_CHARS = 300
"""Of a server's own words in an error; they are foreign text."""
SHORTEST_BYTES = 4
"""Taking shorter ones out of text would make it unreadable, and hide nothing."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that stays out of representations, errors and records."""

    _value: str

    def __repr__(self) -> str:
        """Return nothing of it."""
        return "Secret(...)"

    def reveal(self) -> str:
        """Return the value itself, for the server alone."""
        return self._value


def shown(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Return foreign text for an error: one short, visible line without the secrets."""
    for secret in sorted(secrets, key=lambda one: -len(one.reveal())):
        value = secret.reveal()
        for part in (value, value.removeprefix("Bearer ")):
            if len(part) >= SHORTEST_BYTES:
                text = text.replace(part, "[secret]")
    if len(text) > SHOWN_CHARS:
        text = f"{text[:SHOWN_CHARS]}… (+{len(text) - SHOWN_CHARS})"
    return visible(text)
