"""A strict reader for the small part of shell that leaves no doubt.

Understood are plain words of safe characters, single quotes, double quotes without anything that
expands, and `&&`. Everything else (other operators, redirections, expansions, globs, escapes,
comments, line breaks, non-ASCII text) is *not understood*, which is an answer, not a failure: such
a command is red. That way no two parsers have to agree on the parts of shell where they differ.

Source: POSIX.1-2017 Shell Command Language §2.2 (quoting), §2.6 (expansions).
"""

import re
from dataclasses import dataclass

Words = tuple[str, ...]

_BLANKS = re.compile(r" +")
_PIECE = re.compile(
    r"""(?P<plain>[A-Za-z0-9_./:@%+,=-]+)|'(?P<single>[ -&(-~]*)'|"(?P<double>[ #%-\[\]-_a-~]*)\""""
)


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """The command holds something outside the understood part; `token` is where it begins."""

    token: str


def parse(command: str) -> tuple[Words, ...] | NotUnderstood:
    """Return the words of each simple command joined by `&&`, in order.

    An assignment before a command (`X=1 cmd`) comes out as the command's first word, which no
    program is named like.
    """
    commands: list[Words] = []
    words: list[str] = []
    at = 0
    while at < len(command):
        if blank := _BLANKS.match(command, at):
            at = blank.end()
        elif command.startswith("&&", at) and words:
            commands.append(tuple(words))
            words = []
            at += 2
        else:
            word, end = _word(command, at)
            if end == at:
                return NotUnderstood(command[at : at + 1])
            words.append(word)
            at = end
    if not words:
        return NotUnderstood(command[-2:])
    return (*commands, tuple(words))


def _word(command: str, start: int) -> tuple[str, int]:
    """Read adjoining pieces as one word; return it and where it ends."""
    pieces: list[str] = []
    at = start
    while piece := _PIECE.match(command, at):
        pieces.append(piece.group(piece.lastgroup or "plain"))
        at = piece.end()
    return "".join(pieces), at
