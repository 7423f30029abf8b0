"""The bash grammar: text to tree, or the place from which on it is not shell.

The grammar is loaded at the first use. A tree is only taken if it accounts for every character:
what lies between two leaves must be blank, so nothing can hide where the grammar did not look.
"""

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_OPENINGS = 300
"""Opening brackets in one text. Nesting costs the parser time: Measured: 0.3 s for 3,000."""
MAX_NODES = 6000
"""Parts of the tree. Ten thousand characters of honest shell have about half of that."""
MAX_DEPTH = 80
"""Levels of the tree. Honest commands have about 15."""

_OPAQUE = frozenset({"raw_string", "ansi_c_string", "string_content", "heredoc_content", "comment"})
_BLOCKS = frozenset({
    "program", "do_group", "compound_statement", "subshell", "if_statement", "elif_clause",
    "else_clause", "while_statement", "for_statement", "c_style_for_statement", "case_statement",
    "case_item", "command_substitution", "process_substitution", "function_definition",
    "heredoc_redirect",
})  # fmt: skip
"""Where a line may end between two parts."""
_CONTINUES = frozenset({"|", "|&", "&&", "||"})
"""What a line may end behind."""
_BEFORE_COMMENT = frozenset(b" \t\n;&|()#")
"""What may stand before a comment (or it is the first): in `{ ls; }#; rm x; }` there is none."""
_ENDS_WORD = frozenset(b" \t\n;&|()<>`")
_GOES_ON = frozenset({"for", "select", "case", "function"})
"""Reserved words whose line does not end with them."""
_LOOSE = frozenset({"string", "heredoc_body"})


@cache
def _parser() -> "Parser":
    import tree_sitter_bash  # noqa: PLC0415 - loading it takes longer than judging a line
    from tree_sitter import Language, Parser  # noqa: PLC0415

    return Parser(Language(tree_sitter_bash.language()))


def parsed(source: bytes) -> "Node | int":
    """Return the root of the tree, or the byte offset from which on it is not understood."""
    if sum(source.count(opening) for opening in (b"(", b"[", b"{", b"`", b"<<")) > MAX_OPENINGS:
        return 0
    root = _parser().parse(source).root_node
    if root.has_error:
        return _first_error(root)
    if root.descendant_count > MAX_NODES:
        return 0
    gap = _gap(root, source)
    return root if gap is None else gap


def _first_error(root: "Node") -> int:
    node = root
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error), None)
        if inner is None:
            break
        node = inner
    return node.start_byte


def _gap(top: "Node", source: bytes, level: int = 0) -> int | None:
    """Return where characters belong to no leaf, or where the tree is too deep; else None.

    The text of strings belongs to the string itself; what is expanded inside is looked at again.
    """
    stack = [(top, level)]
    at = top.start_byte if level else 0
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH or not _blank(source[at : node.start_byte]):
            return at
        if not node.is_named and node.type.isalpha() and _touches(node, source):
            return node.start_byte
        if node.type == "comment" and source[max(0, node.start_byte - 1)] not in _BEFORE_COMMENT:
            return node.start_byte
        children = [] if node.type in _OPAQUE else node.children
        if node.type in _LOOSE:
            for child in children:
                inside = _gap(child, source, depth + 1) if child.child_count else None
                if inside is not None:
                    return inside
        elif children:
            broken = _broken_line(node, children, source)
            if broken is not None:
                return broken
            stack.extend((child, depth + 1) for child in reversed(children))
            continue
        at = max(at, node.end_byte)
    return None if level or _blank(source[at:]) else at


def _touches(node: "Node", source: bytes) -> bool:
    """Say whether a reserved word is joined to something, so that the shell would not see it."""
    before, after = source[max(0, node.start_byte - 1)], source[node.end_byte : node.end_byte + 1]
    return (node.start_byte > 0 and before not in _ENDS_WORD) or (
        bool(after) and after[0] not in _ENDS_WORD
    )


def _broken_line(node: "Node", children: "list[Node]", source: bytes) -> int | None:
    r"""Return where a line ends amid something that ends with its line; None if nowhere.

    The grammar sometimes takes the next line's words for arguments: `a | b | c\nd && e` has two
    commands, `c` and `d`, and becomes one.
    """
    block = node.type in _BLOCKS
    for left, right in pairwise(children):
        gap = source[left.end_byte : right.start_byte]
        if b"\n" not in gap.replace(b"\\\n", b"") or left.type in _CONTINUES:
            continue
        named = left.type == "in" and node.type == "for_statement"
        if not block or named or left.type in _GOES_ON:
            return left.end_byte
    return None


def _blank(gap: bytes) -> bool:
    return not gap or not gap.replace(b"\\\n", b"").strip(b" \t\n")
