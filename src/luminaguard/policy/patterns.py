"""Patterns in rules and grants: words of commands, and paths.

They are only ever written by the user or made by the policy; a `*` that stands in a call is
just a character. What allows is matched narrowly and what denies is matched widely, so that a doubt
about a pattern ends with a question to the human.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from luminaguard.policy.paths import program_name

_SYSTEM = ("/bin/", "/usr/bin/", "/usr/local/bin/")


@dataclass(frozen=True, slots=True)
class WordPattern:
    """A command by its words, each with `*` and `?` for any characters within that word.

    A last word that is a lone `*` stands for any further words, also none.
    """

    words: tuple[str, ...]
    is_open: bool

    @classmethod
    def of(cls, text: str) -> "WordPattern":
        """Read a pattern as it stands in a rule; quotes join what belongs to one word.

        Raises:
            ValueError: it has no words, or a quote is not closed.
        """
        words = tuple(shlex.split(text))
        is_open = len(words) > 1 and words[-1] == "*"
        named = words[:-1] if is_open else words
        if not named or not named[0].strip("*?"):
            raise ValueError("a command pattern begins with the name of a program")
        return cls(named, is_open)

    def as_text(self) -> str:
        """Return the pattern as it is written."""
        words = [f'"{word}"' if " " in word else word for word in self.words]
        return " ".join((*words, "*") if self.is_open else words)

    def may_be_among(self, names: frozenset[str]) -> bool:
        """Say whether the program may occur among these names, in small letters: a first look."""
        first = self.words[0].lower()
        return program_name(first) in names or "*" in first or "?" in first

    def covers(self, words: Sequence[str]) -> bool:
        """Say whether exactly this command is meant: word for word, for rules that allow."""
        if len(words) < len(self.words) or (len(words) > len(self.words) and not self.is_open):
            return False
        program = words[0]
        if program.startswith(_SYSTEM) and "/" not in self.words[0]:
            program = program_name(program)
        given = (program, *words[1:])
        return all(glob(want).match(word) for want, word in zip(self.words, given, strict=False))

    def is_in(self, words: Sequence[str], *, anywhere: bool) -> bool:
        """Say whether the command may be meant, for rules that deny or ask.

        Wide on purpose: further words do not matter, options (and what may be their values) between
        the pattern's words do not either, nor case, nor the directory of the program. With
        `anywhere` it may also stand behind a wrapper, as in `sudo git push`.
        """
        begin: tuple[int, bool] = (0, False)
        states: set[tuple[int, bool]] = {begin}
        for word in words:
            states = self._after(states, word)
            if (len(self.words), False) in states:
                return True
            if anywhere:
                states.add(begin)
        return False

    def _after(self, states: set[tuple[int, bool]], word: str) -> set[tuple[int, bool]]:
        """Take one more word: (words matched so far, whether the next may be an option's value)."""
        lowered = word.lower()
        reached: set[tuple[int, bool]] = set()
        for matched, after_option in states:
            want, seen = self.words[matched].lower(), lowered
            if matched == 0:
                want, seen = program_name(want), program_name(seen)
            if glob(want).match(seen):
                reached.add((matched + 1, False))
            if matched and word.startswith("-"):
                reached.add((matched, True))
            if matched and after_option:
                reached.add((matched, False))
        return reached


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path from the workspace's root, or an absolute one.

    `*` and `?` stand for characters within one name, `**` for any directories. `src/**` and `src/`
    are the directory and all below it.
    """

    text: str

    def covers(self, path: str) -> bool:
        """Say whether the path is meant, letter for letter: for what allows."""
        return _path_glob(self.text).match(path) is not None

    def is_like(self, path: str) -> bool:
        """Say whether the path may be meant, whatever its case: for what denies or asks."""
        return _path_glob(self.text.lower()).match(path.lower()) is not None


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """Return what matches a whole text by `*` and `?`; brackets are just characters."""
    return re.compile(translate(pattern.replace("[", "[[]")))


@lru_cache(maxsize=1024)
def _path_glob(pattern: str) -> re.Pattern[str]:
    text = pattern.removeprefix("./")
    if text.endswith("/"):
        text += "**"
    whole_tree = text.endswith("/**")
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", text.removesuffix("/**"))
    parts = [_PIECES.get(piece, re.escape(piece)) for piece in pieces]
    return re.compile("".join(parts) + ("(?:/.*)?" if whole_tree else "") + r"\Z", re.DOTALL)


_PIECES = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
