"""What holds along the ways that a script can take."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from luminaguard.policy.shell.commands import Scope

if TYPE_CHECKING:
    from tree_sitter import Node


def either(one: Scope, other: Scope) -> Scope:
    """Return what holds whichever of two ways was taken."""
    if one is other:
        return one
    bound = {name: value for name, value in one.bound.items() if other.bound.get(name) == value}
    cwds = tuple(dict.fromkeys((*one.cwds, *other.cwds)))
    return Scope(cwds=cwds, bound=bound)


def set_twice(root: "Node", text: "Callable[[Node], str]") -> frozenset[str]:
    """Return the variables that a text sets more than once: their value depends on the way."""
    counts: Counter[str] = Counter()
    stack = [root]
    while stack:
        node = stack.pop()
        stack.extend(node.named_children)
        if node.type in {"variable_assignment", "for_statement"}:
            named = (c for c in node.children if c.type in {"variable_name", "subscript"})
            counts.update(text(c).partition("[")[0] for c in named)
        elif node.type == "command" and text(node).startswith("read"):
            counts.update(text(c) for c in node.named_children[1:])
    return frozenset(name for name, count in counts.items() if count > 1)


def cuts_words(text: str) -> bool:
    """Say whether a line ends in a backslash amid a word: the shell joins it, a parser may not."""
    at = text.find("\\\n")
    while at != -1:
        before, after = text[at - 1 : at], text[at + 2 : at + 3]
        if not (before in {" ", "\t"} or after in {" ", "\t"}):
            return True
        at = text.find("\\\n", at + 2)
    return False
