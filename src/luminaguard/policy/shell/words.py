"""What a shell would hand to a program, as far as the text alone says.

A word is *exact*, or it is a shape: literal text with holes where a glob, a variable or the output
of a command goes. Holes remember where they are filled from, because that decides who may see them.
"""

from dataclasses import dataclass, replace

HOME = "/home/user"
"""Stands for the home directory, which the text does not tell."""

_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a command."""

    text: str
    """Dequoted text if exact; otherwise the shape, for showing."""
    exact: bool = True
    shape: str = ""
    """For words that are not exact: a pattern for `fnmatch`, with `*` for every hole."""
    head: str = ""
    """For words that are not exact: the literal text before the first hole."""
    globs: bool = False
    """Names of existing files fill a hole."""
    printed: bool = False
    """The output of a judged command, or what a judged file holds, fills a hole."""
    environment: bool = False
    """A variable that this text did not set fills a hole: it may hold a secret."""
    splits: bool = False
    """May become several words, or none."""
    number: bool = False
    """Not exact, yet surely a number."""
    active: bool = False
    """Holds unquoted characters that some other shell would give a meaning."""

    @property
    def may_be_option(self) -> bool:
        """Say whether it could begin with a dash without showing it."""
        return not self.exact and not self.head and not self.number

    @property
    def pattern(self) -> str:
        """Return what it may be, as a pattern for `fnmatch`."""
        return escaped(self.text) if self.exact else self.shape


def exact(text: str) -> Word:
    """Return a word that is surely `text`."""
    return Word(text=text)


def hole(
    shown: str, *, printed: bool = False, environment: bool = False, splits: bool = False
) -> Word:
    """Return a word of which nothing is known but where it comes from."""
    return Word(
        text=shown,
        exact=False,
        shape="*",
        printed=printed,
        environment=environment,
        splits=splits,
    )


def numeric(shown: str) -> Word:
    """Return a word that is some number."""
    return Word(text=shown, exact=False, shape="*", printed=True, number=True)


def unquoted(text: str) -> Word:
    """Return literal text without quotes around it, in which glob characters act."""
    at = next((i for i, char in enumerate(text) if char in _GLOB), None)
    if at is None:
        return Word(text=text)
    return Word(text=text, exact=False, shape=text, head=text[:at], globs=True)


def joined(parts: list[Word]) -> Word:
    """Return the word that adjoining parts form."""
    if len(parts) == 1:
        return parts[0]
    active = any(part.active for part in parts)
    text = "".join(part.text for part in parts)
    if all(part.exact for part in parts):
        return Word(text=text, active=active)
    head = ""
    for part in parts:
        head += part.text if part.exact else part.head
        if not part.exact:
            break
    return Word(
        text=text,
        exact=False,
        shape="".join(part.pattern for part in parts),
        head=head,
        globs=any(part.globs for part in parts),
        printed=any(part.printed for part in parts),
        environment=any(part.environment for part in parts),
        splits=any(part.splits for part in parts),
        active=active,
    )


def used_without_quotes(value: Word) -> Word:
    """Return what a variable's value becomes where it is used without quotes around it."""
    if value.exact:
        plain = value.text and not any(c.isspace() or c in _GLOB for c in value.text)
        return value if plain else replace(hole(value.text, printed=True), splits=True)
    return value if value.globs or value.number else replace(value, splits=True)


def escaped(text: str) -> str:
    """Return a pattern that matches exactly `text`."""
    if not any(char in _GLOB for char in text):
        return text
    return "".join(f"[{char}]" if char in _GLOB else char for char in text)
