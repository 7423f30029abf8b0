"""The words of a call apart for the eye: programs, their arguments, paths, what joins commands.

Only for looks: what a command does is judged by the policy, and measured. A text that is read
wrongly here is still shown whole.
"""

import re
from collections.abc import Iterator, Sequence

from luminaguard.approval.look import Look, Style
from luminaguard.approval.rows import Span

LONGEST = 2_000
"""Characters of a line whose words are told apart; a longer one is drawn in one style."""

_PARTS = re.compile(
    r"""(?P<blank>\s+)|(?P<join>[;&|<>()]+)|(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;&|<>()'"\\]|['"\\])+)"""
)
_PATH = re.compile(r"""['"]?(?:~|\.{1,2})?/|[^=]*/|.*\.[A-Za-z][A-Za-z0-9]{0,4}['"]?$""")
_STARTS = frozenset({";", "&", "|", "("})


def command_words(text: str, _look: Look) -> Sequence[Span]:
    """Return a command line's pieces: programs strong, arguments magenta, paths cyan."""
    return list(_pieces(text, is_command=True)) if len(text) <= LONGEST else [(Style.STRONG, text)]


def argument_words(text: str, _look: Look) -> Sequence[Span]:
    """Return the pieces of an argument's text: paths cyan, all else magenta."""
    if len(text) > LONGEST:
        return [(Style.ARGUMENT, text)]
    return list(_pieces(text, is_command=False))


def _pieces(text: str, *, is_command: bool) -> Iterator[Span]:
    is_program = is_command
    for part in _PARTS.finditer(text):
        found = part.group()
        if part.lastgroup == "blank":
            yield Style.PLAIN, found
        elif part.lastgroup == "join":
            yield (Style.WARNING if is_command else Style.ARGUMENT), found
            is_program = is_command and found[-1] in _STARTS
        elif is_program and not _is_assignment(found):
            yield Style.STRONG, found
            is_program = False
        else:
            is_path = not found.startswith("-") and _PATH.match(found)
            yield (Style.CYAN if is_path else Style.ARGUMENT), found


def _is_assignment(word: str) -> bool:
    name, sign, _ = word.partition("=")
    return bool(sign) and name.isidentifier()
