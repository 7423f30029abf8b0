"""Another parser of shell as a referee: what mvdan/sh sees in a text."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_IN_DOUBLE = re.compile(r'\\([$`"\\])|\\\n')
_WORDS_OF_ITS_OWN = {
    "DeclClause", "LetClause", "TestClause", "TimeClause", "CoprocClause", "ArithmCmd", "FuncDecl",
}  # fmt: skip


def seen_by_shfmt(text: str) -> list[tuple[str | None, ...]] | None:
    """Return the words of every simple command, None for words that are not literal.

    None instead of a list where the text is not shell.
    """
    done = subprocess.run(
        [_program(), "--to-json", "-ln", "bash"],
        input=text.encode(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    if done.returncode:
        return None
    return list(_calls(json.loads(done.stdout)))


def _program() -> str:
    """Return the referee's program, which is installed beside the interpreter of the tests."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("shfmt", path=places)
    assert found, "shfmt is not installed: pip install shfmt-py"
    return found


def _calls(node: Any) -> Iterator[tuple[str | None, ...]]:
    if isinstance(node, list):
        for child in node:
            yield from _calls(child)
    if not isinstance(node, dict):
        return
    if node.get("Type") == "CallExpr" or ("Args" in node and "Type" not in node):
        words = tuple(_literal(word) for word in node.get("Args") or ())
        if words:
            yield words
    for child in node.values():
        yield from _calls(child)


def _literal(word: dict[str, Any]) -> str | None:
    found: list[str] = []
    for part in word.get("Parts", ()):
        piece = _piece(part)
        if piece is None:
            return None
        found.append(piece)
    return "".join(found)


def _piece(part: dict[str, Any]) -> str | None:
    kind = part.get("Type")
    if kind == "Lit":
        raw = part.get("Value", "")
        return None if re.search(r"[*?\[{~]", raw) else _ESCAPED.sub(r"\1", raw)
    if kind == "SglQuoted" and not part.get("Dollar"):
        return str(part.get("Value", ""))
    if kind == "DblQuoted" and not part.get("Dollar"):
        inner = part.get("Parts", ())
        if all(child.get("Type") == "Lit" for child in inner):
            text = "".join(child.get("Value", "") for child in inner)
            return _IN_DOUBLE.sub(lambda match: match[1] or "", text)
    return None
