"""Turns the tree's word nodes into words: quotes taken off, expansions made holes.

Only listed kinds of nodes are read; any other is trouble.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from luminaguard.policy.shell.commands import Scope, Script, Trouble
from luminaguard.policy.shell.escapes import ansi_c, in_double_quotes, unescaped
from luminaguard.policy.shell.variables import value_of
from luminaguard.policy.shell.words import (
    HOME,
    Word,
    exact,
    hole,
    joined,
    numeric,
    unquoted,
    used_without_quotes,
)

if TYPE_CHECKING:
    from tree_sitter import Node

Substituted = Callable[["Node", Scope], None]
"""Walks the commands of a substitution."""

_PIECES = re.compile(r"\\(.)|([*?\[])", re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_NO_WORD = re.compile(r"[\s;|&<>()\"'`]|\$.")
_MISSED = re.compile(r"(?<!\\)(?:\\\\)*(?:`|\$[({\[A-Za-z0-9_@*#?!$-])")
_OTHER_SHELLS = re.compile(r"^[=!]|[\^#~]|<\d")
_SAFE_OPERATORS = frozenset({"%", "%%", "#", "##", "/", "//", "/#", "/%", "^", "^^", ",", ",,",
                             ":-", "-", ":", ":+", "+"})  # fmt: skip
_INTEGER = re.compile(r"-?\d{1,18}")
_ARITHMETIC = frozenset(
    {"binary_expression", "unary_expression", "parenthesized_expression", "ternary_expression"}
)
_ASSIGNING = frozenset(
    {"=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^=", "++", "--"}
)


class WordReader:
    """Reads words of one text; troubles go into the script."""

    def __init__(self, source: bytes, script: Script, substituted: Substituted) -> None:
        self._source = source
        self._script = script
        self._substituted = substituted
        self.unsteady: frozenset[str] = frozenset()
        """Variables that the text sets more than once: their value depends on the way taken."""
        self._readers: dict[str, Callable[[Node, Scope], Word]] = {
            "word": self._plain,
            "number": self._plain,
            "command_name": self._first_child,
            "variable_name": self._plain,
            "test_operator": self._plain,
            "extglob_pattern": self._pattern,
            "regex": self._pattern,
            "raw_string": self._raw,
            "ansi_c_string": self._ansi,
            "string": self._string,
            "concatenation": self._concatenation,
            "simple_expansion": self._simple,
            "expansion": self._expansion,
            "command_substitution": self._command,
            "process_substitution": self._process,
            "arithmetic_expansion": self._arithmetic,
        }

    def text(self, node: "Node") -> str:
        """Return a node's source text."""
        return self._source[node.start_byte : node.end_byte].decode()

    def before(self, node: "Node") -> str:
        """Return the last few characters before a node."""
        start = max(0, node.start_byte - 12)
        return self._source[start : node.start_byte].decode(errors="replace")

    def trouble(self, node: "Node", why: str, *, rule: str = "not-understood") -> None:
        """Note that the text must not run unasked, because of this node."""
        self._script.troubles.append(Trouble(rule=rule, token=self.text(node), why=why))

    def read(self, node: "Node", scope: Scope) -> Word:
        """Return the word that a node is."""
        reader = self._readers.get(node.type)
        if reader is None:
            self.trouble(node, "is a form of shell that is not looked through")
            return hole(self.text(node), environment=True, splits=True)
        return reader(node, scope)

    def read_command_word(self, node: "Node", scope: Scope) -> Word:
        """Return a word where variables are used without quotes."""
        word = self.read(node, scope)
        return self._with_tilde(node, word)

    def holes_within(self, node: "Node", scope: Scope) -> Word:
        """Return text with expansions (a string, a here-document) as one word."""
        return self._expanding(node, scope, node.start_byte, node.end_byte, quoted=False)

    def _first_child(self, node: "Node", scope: Scope) -> Word:
        if node.child_count == 1:
            return self.read(node.children[0], scope)
        self.trouble(node, "is not a plain name")
        return hole(self.text(node), environment=True)

    def _plain(self, node: "Node", scope: Scope) -> Word:
        if node.child_count:
            self.trouble(node, "is not plain text")
            for child in node.named_children:
                self.read(child, scope)
            return hole(self.text(node), environment=True)
        text = self.text(node)
        if _NO_WORD.search(_ESCAPED.sub("", text)):
            self.trouble(node, "holds characters that end a word")
        if "{" in text and text != "{}" and ("," in text or ".." in text):
            self.trouble(node, "is a brace expansion", rule="brace-expansion")
        active = _OTHER_SHELLS.search(text) is not None
        if "\\" not in text:
            word = unquoted(text)
            return replace(word, active=True) if active else word
        return replace(_escaped_word(text), active=active)

    def _pattern(self, node: "Node", scope: Scope) -> Word:
        text = self.text(node)
        for child in node.named_children:
            self.read(child, scope)
        if "$" in text or "`" in text:
            if not node.named_child_count:
                self.trouble(node, "holds an expansion that is not looked through")
            return hole(text, environment=True)
        return Word(text=text, exact=False, shape="*")

    def _raw(self, node: "Node", _scope: Scope) -> Word:
        return exact(self.text(node)[1:-1])

    def _ansi(self, node: "Node", _scope: Scope) -> Word:
        text, hides = ansi_c(self.text(node)[2:-1])
        if hides:
            self.trouble(node, "spells plain characters as codes", rule="obscured")
        return exact(text)

    def _string(self, node: "Node", scope: Scope) -> Word:
        return self._expanding(node, scope, node.start_byte + 1, node.end_byte - 1, quoted=True)

    def _expanding(self, node: "Node", scope: Scope, start: int, end: int, *, quoted: bool) -> Word:
        parts: list[Word] = []
        at = start
        for child in node.named_children:
            if child.type in {"string_content", "heredoc_content"}:
                continue
            inner = self.text(child)
            begin = child.start_byte + len(inner) - len(inner.lstrip())
            parts.append(self._literal(node, at, begin))
            word = self.read(child, scope)
            parts.append(replace(word, splits=False, globs=word.globs and not quoted))
            at = child.end_byte
        parts.append(self._literal(node, at, end))
        return joined([part for part in parts if part.text or not part.exact] or [exact("")])

    def _literal(self, node: "Node", start: int, end: int) -> Word:
        """Return text between expansions, in which the grammar must not have missed one."""
        raw = self._source[start:end].decode()
        if _MISSED.search(raw):
            self.trouble(node, "holds an expansion that is not looked through")
        return exact(in_double_quotes(raw))

    def _concatenation(self, node: "Node", scope: Scope) -> Word:
        text = self.text(node)
        children = node.children
        if any(left.end_byte != right.start_byte for left, right in pairwise(children)):
            self.trouble(node, "is not one word")
        if self._braces(children):
            self.trouble(node, "is a brace expansion", rule="brace-expansion")
        parts = [self._part(child, scope) for child in children]
        return joined(parts) if parts else exact(text)

    def _part(self, node: "Node", scope: Scope) -> Word:
        if node.is_named:
            word = self.read(node, scope)
            bare = node.type in {"simple_expansion", "expansion"}
            return used_without_quotes(word) if bare else word
        text = self.text(node)
        if len(text) == 1 and text not in "$`\\'\"(){}<>|&;":
            return unquoted(text)
        if text not in {"{", "}"}:
            self.trouble(node, "stands where a word is expected")
        return exact(text)

    def _braces(self, children: "list[Node]") -> bool:
        """Say whether unquoted braces could multiply a word."""
        plain = "".join(
            self.text(child) if child.type == "word" or not child.is_named else "\0"
            for child in children
        )
        return "{" in plain and "}" in plain and ("," in plain or ".." in plain)

    def _simple(self, node: "Node", scope: Scope) -> Word:
        return value_of(self.text(node)[1:], scope, self.unsteady)

    def _expansion(self, node: "Node", scope: Scope) -> Word:
        names = [c for c in node.children if c.type in {"variable_name", "special_variable_name"}]
        operators = [self.text(c) for c in node.children if not c.is_named][1:-1]
        simple = len(names) == 1 and node.children[1] == names[0]
        if len(names) == 1 and operators == ["#"] and node.named_child_count == 1 and not simple:
            return numeric(self.text(node))
        if not simple or not set(operators) <= _SAFE_OPERATORS:
            self.trouble(node, "is an expansion that is not looked through")
            self._inside(node, scope)
            return hole(self.text(node), environment=True)
        value = value_of(self.text(names[0]), scope, self.unsteady)
        if not operators:
            return value
        self._inside(node, scope)
        environment = value.environment
        return replace(hole(self.text(node), printed=True), environment=environment)

    def _inside(self, node: "Node", scope: Scope) -> None:
        for child in node.named_children:
            if child.type not in {"variable_name", "special_variable_name", "subscript"}:
                word = self.read(child, scope)
                if word.environment:
                    self.trouble(child, "is used to make a word")

    def _command(self, node: "Node", scope: Scope) -> Word:
        self._substituted(node, scope)
        inner = self.text(node).strip("$()` \t\n")
        if inner == "pwd" and len(scope.cwds) == 1:
            return exact(scope.cwds[0])
        return hole(self.text(node), printed=True)

    def _process(self, node: "Node", scope: Scope) -> Word:
        self._substituted(node, scope)
        if self.text(node).startswith(">"):
            self.trouble(node, "hands what is written to a command", rule="redirection")
        return exact("/dev/stdin")

    def _arithmetic(self, node: "Node", scope: Scope) -> Word:
        for child in node.named_children:
            self.arithmetic(child, scope)
        return numeric(self.text(node))

    def arithmetic(self, node: "Node", scope: Scope) -> None:
        """Check that an arithmetic expression can only count: names in it are evaluated again.

        Source: bash manual §6.5: the value of a variable is evaluated as an expression, and an
        index in one may hold a command substitution.
        """
        if node.type in _ARITHMETIC:
            if any(self.text(child) in _ASSIGNING for child in node.children):
                self.trouble(node, "sets a variable within arithmetic")
            for child in node.named_children:
                self.arithmetic(child, scope)
            return
        name = self.text(node)
        if node.type == "number" and node.child_count == 0 and name[:1].isdigit():
            return
        if node.type in {"variable_name", "simple_expansion", "word"}:
            word = value_of(name.removeprefix("$"), scope, self.unsteady)
            if word.number or (word.exact and _INTEGER.fullmatch(word.text)):
                return
        self.trouble(node, "is not surely a number")
        if node.named_child_count:
            self._inside(node, scope)

    def _with_tilde(self, node: "Node", word: Word) -> Word:
        first = node
        while first.type in {"concatenation", "command_name"} and first.child_count:
            first = first.children[0]
        if first.type != "word" or not self.text(first).startswith("~"):
            return word
        name, slash, rest = (word.text if word.exact else word.head)[1:].partition("/")
        if name[:1] in {"+", "-"} or name[:1].isdigit():
            self.trouble(node, "names a directory of the shell's own list")
            return word
        home = HOME if not name else ("/root" if name == "root" else f"/home/{name}")
        if word.exact:
            return exact(home + slash + rest)
        shape = home + word.shape[1 + len(name) :]
        return replace(word, shape=shape, head=home + slash + rest)


def _escaped_word(text: str) -> Word:
    """Return unquoted text with backslashes: an escaped glob character does not act."""
    shape: list[str] = []
    head: list[str] = []
    globs = False
    at = 0
    for match in _PIECES.finditer(text):
        literal = text[at : match.start()]
        char = match[1]
        acts = char is None
        shape.append(literal + (match[2] if acts else f"[{char}]" if char in "*?[" else char))
        if not globs:
            head.append(literal + ("" if acts else char))
        globs = globs or acts
        at = match.end()
    shape.append(text[at:])
    if not globs:
        return exact(unescaped(text))
    return Word(text=text, exact=False, shape="".join(shape), head="".join(head), globs=True)
