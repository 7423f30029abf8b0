"""Telling SQL that only reads from all other SQL, without knowing the dialect.

A list of what is known to read: one statement that begins with a reading keyword, no keyword that
writes outside of strings, and no function but well-known ones, since a function can do anything.
What cannot be taken apart is not a read.
"""

import re

from luminaguard.policy.mcp.lexicon import lexicon

_TOKEN = re.compile(
    r"(?P<skip>\s+|--[^\n]*|/\*(?![!+M]).*?\*/)"
    r"|(?P<string>'(?:[^'\\]|'')*')"
    r'|(?P<quoted>"[^"\\]*"|`[^`\\]*`|\[[A-Za-z_][\w ]*\])'
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<mark>::|[<>=!]{1,3}|\|\||[-+*/%.,();<>=?~\[\]{}&^|]|[$:@]\w+)",
    re.DOTALL,
)
"""Not among them, so never a read: dollar quotes, escapes in strings, `/*!` that MySQL runs."""
_MAX_CHARS = 20_000
_BEGINS = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*|\(\s*)*(?P<word>select|insert|update|delete|drop|alter|create|truncate|grant|revoke|merge|with|"
    r"exec|execute|copy|call|replace|attach|pragma|vacuum|set|begin|do)\s+(?P<next>[\w*\"'`(@$\[]+)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_SHAPES = {
    "select": re.compile(r"\bfrom\b|\(|\binto\b|^\d|^\*", re.IGNORECASE),
    "insert": re.compile(r"^into\b", re.IGNORECASE),
    "update": re.compile(r"\bset\b", re.IGNORECASE),
    "delete": re.compile(r"^from\b", re.IGNORECASE),
    "with": re.compile(r"\bas\s*\(", re.IGNORECASE),
    "copy": re.compile(r"\b(?:to|from)\b", re.IGNORECASE),
    "set": re.compile(r"=|\bto\b", re.IGNORECASE),
}
_NAMED = re.compile(
    r"^(?:or|table|database|schema|index|view|user|role|function|procedure|trigger|extension|unique|"
    r"temp|temporary|all|select|insert|update|delete|immediate|transaction|\$)\b",
    re.IGNORECASE,
)


def looks_like_sql(text: str) -> bool:
    """Say whether free text is a SQL statement rather than words to search for."""
    match = _BEGINS.match(text[:_MAX_CHARS])
    if match is None:
        return False
    rest = match["next"] + match["rest"]
    shape = _SHAPES.get(match["word"].lower(), _NAMED)
    return shape.search(rest) is not None


def why_not_a_read(statement: str) -> str | None:
    """Return the token for which a statement is not a known read; None if it is one."""
    if len(statement) > _MAX_CHARS:
        return "its length"
    first, at, ended = "", 0, False
    while at < len(statement):
        match = _TOKEN.match(statement, at)
        if match is None:
            return statement[at : at + 12]
        at = match.end()
        if match.lastgroup == "skip":
            continue
        if ended or _writes(match, statement):
            return match.group()
        ended = match.group() == ";"
        first = first or match.group().lower()
    return None if first in lexicon().sql_reads else first or statement[:12]


def _writes(match: re.Match[str], statement: str) -> bool:
    """Say whether a token is a keyword that writes, or a function that is not known to read."""
    called = statement[match.end() : match.end() + 80].lstrip().startswith("(")
    if match.lastgroup == "word":
        word = match.group().lower()
        known = lexicon()
        return word not in known.sql_functions if called else word in known.sql_never
    return called and match.lastgroup == "quoted"
