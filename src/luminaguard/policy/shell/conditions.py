"""The expressions between `[` and `]`, and between `[[` and `]]`."""

import re
from typing import TYPE_CHECKING

from luminaguard.policy.shell.commands import Scope
from luminaguard.policy.shell.reader import WordReader

if TYPE_CHECKING:
    from tree_sitter import Node

_EXPRESSIONS = frozenset(
    {"unary_expression", "binary_expression", "parenthesized_expression", "negation_expression"}
)
_WITHIN_BRACKET = frozenset({"=", "==", "!=", "!", "\\(", "\\)", "\\<", "\\>"})
_WITHIN_BRACKETS = frozenset({"=", "==", "!=", "=~", "<", ">", "!", "&&", "||", "(", ")"})
"""Operators that belong to the expression; any other ends the command, whatever the grammar says:
`[ a & rm x ]` is two commands."""
_OPERATOR = re.compile(r"-[A-Za-z]{1,2}")
_EVALUATED = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge"})


def read_test(reader: WordReader, node: "Node", scope: Scope, *, evaluates: bool) -> None:
    """Read one part of a test; what would evaluate a name or an index is trouble.

    Args:
        reader: Where words and troubles go.
        node: The part.
        scope: Where it stands.
        evaluates: Numbers are compared by evaluating them, as `[[` does.
    """
    if node.type not in _EXPRESSIONS:
        word = reader.read(node, scope)
        if word.exact and word.text in {"-v", "-R"}:
            reader.trouble(node, "evaluates the name of a variable")
        if node.type == "test_operator" or (evaluates and _OPERATOR.fullmatch(reader.text(node))):
            reader.trouble(node, "is an operator without its operands")
        return
    operators = {reader.text(child) for child in node.children}
    allowed = _WITHIN_BRACKETS if evaluates else _WITHIN_BRACKET
    if any(not c.is_named and reader.text(c) not in allowed for c in node.children):
        reader.trouble(node, "holds what ends a test")
    if operators & {"-v", "-R"}:
        reader.trouble(node, "evaluates the name of a variable")
    arithmetic = evaluates and bool(operators & _EVALUATED)
    for child in node.named_children:
        if child.type == "test_operator" and node.named_child_count > 1:
            continue
        if arithmetic and child.type != "test_operator":
            reader.arithmetic(child, scope)
        else:
            read_test(reader, child, scope, evaluates=evaluates)
