"""Colors for source code, line by line: only for the eye, and only if the text stays the same."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename  # pyright: ignore[reportUnknownVariableType]
from pygments.token import Comment, Keyword, Name, Number, String
from pygments.util import ClassNotFound

from luminaguard.approval.look import Style
from luminaguard.approval.rows import Span

LONGEST_LINE = 1_000
"""Characters; a longer line stays plain."""

_STYLES = (
    (Comment, Style.COMMENT),
    (Keyword, Style.KEYWORD),
    (Name.Builtin, Style.NAME),
    (Name.Function, Style.NAME),
    (Name.Class, Style.NAME),
    (Name.Decorator, Style.NAME),
    (Name.Tag, Style.KEYWORD),
    (Name.Attribute, Style.NAME),
    (String, Style.STRING),
    (Number, Style.NUMBER),
)


def highlight(path: str, text: str) -> Sequence[Span]:
    """Return a line's pieces by what they are in the language that the path's name stands for.

    A line is read by itself, so one in the middle of a longer text may be taken for code.
    """
    lexer = _lexer(PurePosixPath(path).name)
    if lexer is None or not text or len(text) > LONGEST_LINE:
        return [(Style.PLAIN, text)]
    return _pieces(lexer, text)


@lru_cache(maxsize=4096)
def _pieces(lexer: Lexer, text: str) -> Sequence[Span]:
    pieces: list[Span] = []
    for _, token, found in lexer.get_tokens_unprocessed(f"{text}\n"):  # as in a file
        part = found.removesuffix("\n")
        style = next((style for kind, style in _STYLES if token in kind), Style.PLAIN)
        if pieces and pieces[-1][0] is style:
            pieces[-1] = (style, pieces[-1][1] + part)
        elif part:
            pieces.append((style, part))
    if "".join(part for _, part in pieces) != text:  # a lexer may add or drop what it expects
        return [(Style.PLAIN, text)]
    return pieces


@lru_cache(maxsize=64)
def _lexer(name: str) -> Lexer | None:
    try:
        return get_lexer_for_filename(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
