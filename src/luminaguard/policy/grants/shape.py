"""The form of a command that a grant covers: fixed words, and places for paths or a message.

Fixed words are compared as they are, so a `*` in an approved command is only ever a `*`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from luminaguard.domain.calls import JsonValue
from luminaguard.policy.rules.spoken import Words


class Slot(StrEnum):
    """What may stand at a place."""

    WORD = "word"
    """Exactly this word."""
    PATHS = "paths"
    """One or more paths within the grant's bounds."""
    TEXT = "text"
    """One word of any text, such as a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A command with its variable places."""

    slots: tuple[tuple[Slot, str], ...]

    def covers(self, words: Words, is_path: Callable[[str], bool]) -> bool:
        """Say whether the command has this form; `is_path` tells which paths are within bounds."""
        reached = {0}
        for word in words:
            reached = {after for place in reached for after in self._after(place, word, is_path)}
        return len(self.slots) in reached

    def _after(self, place: int, word: str, is_path: Callable[[str], bool]) -> Sequence[int]:
        """Return the places where it can go on; a place of paths may take more of them."""
        reached: list[int] = []
        if place and self.slots[place - 1][0] is Slot.PATHS and is_path(word):
            reached.append(place)
        if place < len(self.slots):
            slot, text = self.slots[place]
            fits = {
                Slot.WORD: word == text,
                Slot.PATHS: slot is Slot.PATHS and is_path(word),
                Slot.TEXT: not word.startswith("-"),
            }[slot]
            if fits:
                reached.append(place + 1)
        return reached

    def as_text(self) -> str:
        """Return the form for people: `git add PATHS`."""
        names = {Slot.PATHS: "PATHS…", Slot.TEXT: "TEXT"}
        return " ".join(names.get(slot, text) for slot, text in self.slots)

    def as_json(self) -> list[JsonValue]:
        """Return the form as it is kept."""
        return [[slot.value, text] for slot, text in self.slots]


# Options whose value is only ever text that is kept: no program reads it as a command or a path.
_MESSAGES = {("git", "commit"): frozenset({"-m", "--message"}), ("git", "tag"): frozenset({"-m"})}


def shape_of(words: Words, is_path: Callable[[str], bool]) -> Shape:
    """Return the form of an approved command, as narrow as is of use.

    Everything is fixed but paths within the bounds, and messages. Neighboring paths become one
    place that takes any number of them.
    """
    slots: list[tuple[Slot, str]] = []
    messages = _MESSAGES.get((words[0], words[1] if len(words) > 1 else ""), frozenset[str]())
    for at, word in enumerate(words):
        if at and is_path(word):
            if slots[-1][0] is not Slot.PATHS:
                slots.append((Slot.PATHS, ""))
        elif at and words[at - 1] in messages:
            slots.append((Slot.TEXT, ""))
        else:
            slots.append((Slot.WORD, word))
    return Shape(slots=tuple(slots))
