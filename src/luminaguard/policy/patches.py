"""Which files a unified diff names, read the way `git apply` reads it.

A patch that could be read in two ways is not read at all: then a human looks at what it did.

Source: git 2.39 apply.c (find_header, parse_git_diff_header, recount_diff, guess_p_value).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_CHARS = 1_000_000
MAX_PATHS = 200

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_TIMESTAMP = re.compile(r" +\d{2,4}-\d\d-\d\d[ T]\d\d:\d\d")
_WHOLE = ("rename from ", "rename to ", "copy from ", "copy to ", "rename old ", "rename new ")
"""Headers whose names have no `a/` or `b/` before them."""
_NOWHERE = "/dev/null"


class Unreadable(ValueError):
    """The patch cannot be read with certainty; the message says why, for people."""


@dataclass(slots=True, kw_only=True)
class Patch:
    """What a patch names."""

    paths: dict[str, None] = field(default_factory=dict[str, None])
    """As `git apply` takes them, in order, each once. May lie anywhere: nothing is checked."""
    deletes: dict[str, None] = field(default_factory=dict[str, None])
    """Those that are removed, or moved elsewhere."""
    _flat: set[bool] = field(default_factory=set[bool])
    """Whether names came without any directory, and with."""

    def add(self, name: str, *, whole: bool = False) -> str:
        """Note a name as it stands in a header; return the path that it means."""
        if not whole:
            self._flat.add("/" not in name)
            if len(self._flat) > 1:
                raise Unreadable("some of its names begin with a/ or b/, others do not")
        path = name if whole or "/" not in name else name.partition("/")[2]
        self.paths[path] = None
        if len(self.paths) > MAX_PATHS:
            raise Unreadable(f"it names more than {MAX_PATHS} files")
        return path


def read_patch(text: str) -> Patch:
    """Return the files that a patch names.

    Raises:
        Unreadable: it names none, or what it names is not certain.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable(f"{len(text)} characters are too many to judge")
    patch = Patch()
    before = ""
    for line in _headers(text):
        before = _header(line, patch, before)
    if not patch.paths:
        raise Unreadable("it names no file")
    return patch


def _headers(text: str) -> Iterator[str]:
    """Yield all lines outside of hunks. Within one, every line is content, whatever it says."""
    within = False
    for line in text.split("\n"):
        if within and line.startswith("diff "):
            within = False
        if line.startswith("@@ "):
            if not _HUNK.match(line):
                raise Unreadable("it has a hunk that is not one")
            within = True
        elif not within:
            yield line
        elif line and line[0] not in " +-\\":
            raise Unreadable("it has a line that belongs to no hunk")


def _header(line: str, patch: Patch, before: str) -> str:
    """Take in one line; return what the last line about the old file named."""
    whole = next((word for word in _WHOLE if line.startswith(word)), "")
    if whole:
        path = patch.add(_name(line.removeprefix(whole)), whole=True)
        if whole in {"rename from ", "rename old "}:
            patch.deletes[path] = None
    elif line.startswith("diff --git "):
        return _both(line.removeprefix("diff --git "), patch)
    elif line.startswith("deleted file mode ") and before:
        patch.deletes[before] = None
    elif line.startswith("--- "):
        name = _name(line.removeprefix("--- "))
        return "" if name == _NOWHERE else patch.add(name)
    elif line.startswith("+++ "):
        name = _name(line.removeprefix("+++ "))
        if name != _NOWHERE:
            patch.add(name)
        elif before:
            patch.deletes[before] = None
    return before


def _both(rest: str, patch: Patch) -> str:
    """Take in both names of a section; they count where they are the same but for `a/`, `b/`.

    Where they are not, the section must name them in further lines, or git refuses it.
    """
    if '"' in rest:
        names = [_unquoted(match) for match in _QUOTED.findall(rest)]
        names += [part.strip() for part in _QUOTED.sub("\n", rest).split("\n") if part.strip()]
        if any('"' in name for name in names):
            raise Unreadable("a name in it has a quote too many")
        first, *_ = [patch.add(_checked(name)) for name in names]
        return first
    last = ""
    for at in (match.start() for match in re.finditer(" ", rest)):
        left, right = rest[:at], rest[at + 1 :]
        if left.partition("/")[2] == right.partition("/")[2] or left == right:
            last = patch.add(_checked(left))
    return last


def _name(text: str) -> str:
    if text.startswith('"'):
        match = _QUOTED.match(text)
        if match is None:
            raise Unreadable("a name in it has no closing quote")
        return _checked(_unquoted(match[1]))
    name = text.partition("\t")[0]
    if _TIMESTAMP.search(name):
        raise Unreadable("a name in it may hold a time, or be one")
    return _checked(name)


def _checked(name: str) -> str:
    if not name or any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise Unreadable("a name in it is empty or holds control characters")
    return name


def _unquoted(text: str) -> str:
    """Undo git's C-style quotes, in which bytes are written as octal numbers."""
    parts: Iterable[bytes] = (
        _escaped(piece) if at % 2 else piece.encode()
        for at, piece in enumerate(_ESCAPE.split(text))
    )
    try:
        return b"".join(parts).decode()
    except (UnicodeError, ValueError) as error:
        raise Unreadable("a name in it is not text") from error


def _escaped(code: str) -> bytes:
    if len(code) == 3:
        return bytes([int(code, 8)])
    if code not in _ESCAPED:
        raise ValueError(code)
    return bytes([_ESCAPED[code]])
