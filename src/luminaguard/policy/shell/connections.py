"""Redirections, here-strings and here-documents."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from luminaguard.policy.shell.commands import Redirect, Scope
from luminaguard.policy.shell.reader import WordReader
from luminaguard.policy.shell.words import Word, exact

if TYPE_CHECKING:
    from tree_sitter import Node

REDIRECTIONS = frozenset({"file_redirect", "herestring_redirect", "heredoc_redirect"})
"""Kinds of nodes that are read here."""

_DESCRIPTOR = re.compile(r"(?:^|[\s;&|(])(?:\d+|\{\w*\}?)$")
"""What the shell takes as the descriptor of a redirection that follows at once."""


class Connections:
    """Reads redirections of one text; troubles go into its script."""

    def __init__(self, reader: WordReader, rest_of_line: "Callable[[Node, Scope], bool]") -> None:
        self._reader = reader
        self._rest_of_line = rest_of_line

    def read(self, node: "Node", scope: Scope) -> list[Redirect]:
        """Return what a redirection connects; more than one for a line with a here-document."""
        if _DESCRIPTOR.search(self._reader.before(node)):
            self._reader.trouble(node, "opens a descriptor of its own", rule="redirection")
        if node.type == "heredoc_redirect":
            return self._heredoc(node, scope)
        operator, descriptor, targets = "", "", list[Word]()
        for child in node.children:
            if not child.is_named:
                operator = self._reader.text(child)
            elif child.type == "file_descriptor":
                descriptor = self._reader.text(child)
            else:
                targets.append(self._reader.read_command_word(child, scope))
        if node.type == "herestring_redirect":
            return [Redirect(operator="<<<", descriptor=descriptor, target=targets[0])]
        if len(targets) != 1:
            self._reader.trouble(node, "is not one plain redirection", rule="redirection")
        return [Redirect(operator=operator, descriptor=descriptor, target=t) for t in targets]

    def _heredoc(self, node: "Node", scope: Scope) -> list[Redirect]:
        """Read a here-document; the grammar also puts the rest of its first line in here."""
        found: list[Redirect] = []
        starts = [self._reader.text(c) for c in node.children if c.type == "heredoc_start"]
        verbatim = len(starts) == 1 and any(mark in starts[0] for mark in "'\"\\")
        for child in node.children:
            if child.type == "heredoc_body":
                word = exact("") if verbatim else self._reader.holes_within(child, scope)
                found.append(Redirect(operator="<<", descriptor="", target=word))
            elif child.type in REDIRECTIONS:
                found += self.read(child, scope)
            elif self._rest_of_line(child, scope):
                continue
            elif child.type == "file_descriptor":
                self._reader.trouble(node, "uses a descriptor of its own", rule="redirection")
            elif child.is_named and child.type not in {"heredoc_start", "heredoc_end"}:
                self._reader.trouble(child, "follows a here-document")
                self._reader.read(child, scope)
        return found
