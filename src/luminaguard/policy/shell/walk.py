"""Walks shell text and collects every simple command in it, with what is known where it stands.

Whatever is not on the list of constructs becomes a trouble, so a form of shell that nobody thought
of is red. Bodies of functions, branches not taken and substitutions are walked like anything else.

Source: bash manual §3.2 (shell commands), §3.7 (executing commands).
"""

import re
from dataclasses import replace
from posixpath import join, normpath
from typing import TYPE_CHECKING

from luminaguard.policy.shell.commands import Redirect, Scope, Script, SimpleCommand, Trouble
from luminaguard.policy.shell.conditions import read_test
from luminaguard.policy.shell.connections import REDIRECTIONS, Connections
from luminaguard.policy.shell.flow import cuts_words, either, set_twice
from luminaguard.policy.shell.grammar import parsed
from luminaguard.policy.shell.reader import WordReader
from luminaguard.policy.shell.variables import sets_only_itself
from luminaguard.policy.shell.words import HOME, Word, exact, hole, used_without_quotes

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_ITEMS = 12
"""Words of one `for` loop that are each followed; with more, the variable is taken as unknown."""
MAX_COMMANDS = 400
"""A text with more is not looked through: nobody would read it on a card either."""
MAX_DIRECTORIES = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PUNCTUATION = frozenset({
    ";", "&", "\n", "(", ")", "{", "}", "do", "done", "then", "fi", "if", "elif", "else", "while",
    "until", "!",
})  # fmt: skip


def walked(text: str, cwd: str) -> Script:
    """Return all simple commands and troubles of a text that starts in an absolute directory."""
    script = Script()
    source = text.encode()
    if cuts_words(text):
        script.troubles.append(_unread("\\\n", "joins two lines within a word"))
        return script
    root = parsed(source)
    if isinstance(root, int):
        rest = source[root:].decode(errors="replace") or text[-2:]
        script.troubles.append(_unread(rest, "is not understood from there on"))
        return script
    _Walker(source, script).program(root, Scope(cwds=(cwd,), bound={}))
    if not script.commands and not script.troubles:
        script.troubles.append(_unread(text[:40], "holds no command"))
    return script


def _unread(token: str, why: str) -> Trouble:
    return Trouble(rule="not-understood", token=token, why=why)


class _Walker:
    def __init__(self, source: bytes, script: Script) -> None:
        self._script = script
        self._reader = WordReader(source, script, self._substituted)
        self._loops = 0
        self._connections = Connections(self._reader, self._rest_of_line)
        self._kinds = {
            "command": self._command,
            "declaration_command": self._declaration,
            "unset_command": self._refused,
            "variable_assignment": self._assignment,
            "variable_assignments": self._assignments,
            "redirected_statement": self._redirected,
            "pipeline": self._pipeline,
            "subshell": self._subshell,
            "compound_statement": self._compound,
            "negated_command": self._block,
            "if_statement": self._branches,
            "elif_clause": self._branches,
            "else_clause": self._branches,
            "while_statement": self._branches,
            "do_group": self._block,
            "for_statement": self._for,
            "c_style_for_statement": self._counting_for,
            "case_statement": self._case,
            "case_item": self._case_item,
            "function_definition": self._function,
            "test_command": self._test,
            "comment": self._nothing,
        }

    def program(self, root: "Node", scope: Scope) -> None:
        """Walk the whole text."""
        self._reader.unsteady = set_twice(root, self._reader.text)
        self._block(root, scope)

    def _statement(self, node: "Node", scope: Scope) -> tuple[Scope, Scope]:
        """Walk one statement; return the scope after it, and after it if it succeeded."""
        if len(self._script.commands) > MAX_COMMANDS:
            if not self._script.troubles:
                self._reader.trouble(node, "is one command too many")
            return scope, scope
        if node.type == "list":
            return self._list(node, scope)
        kind = self._kinds.get(node.type)
        if kind is None:
            self._unknown(node, scope)
            return scope, scope
        after = kind(node, scope)
        return (either(scope, after) if after.cwds != scope.cwds else after), after

    def _list(self, node: "Node", scope: Scope) -> tuple[Scope, Scope]:
        if node.child_count != 3:
            self._unknown(node, scope)
            return scope, scope
        left, operator, right = node.children
        any_left, good_left = self._statement(left, scope)
        both = operator.type == "&&"
        any_right, good_right = self._statement(right, good_left if both else any_left)
        afterwards = either(any_left, any_right)
        return afterwards, (good_right if both else afterwards)

    def _unknown(self, node: "Node", scope: Scope) -> None:
        self._reader.trouble(node, "is a form of shell that is not looked through")
        for child in node.named_children:
            if child.type in self._kinds or child.type == "list":
                self._statement(child, scope)

    def _block(self, node: "Node", scope: Scope) -> Scope:
        for child in node.children:
            if child.is_named:
                scope, _ = self._statement(child, scope)
            elif child.type not in _PUNCTUATION:
                self._reader.trouble(child, "stands where no command ends")
        return scope

    def _compound(self, node: "Node", scope: Scope) -> Scope:
        if node.children and node.children[0].type == "((":
            for child in node.named_children:
                self._reader.arithmetic(child, scope)
            self._add((), scope)
            return scope
        return self._block(node, scope)

    def _subshell(self, node: "Node", scope: Scope) -> Scope:
        self._block(node, scope)
        return scope

    def _branches(self, node: "Node", scope: Scope) -> Scope:
        return either(scope, self._block(node, scope))

    def _rest_of_line(self, node: "Node", scope: Scope) -> bool:
        """Walk what stands behind a here-document's beginning; False if it is no statement."""
        known = node.type in self._kinds or node.type == "list"
        if known:
            self._statement(node, scope)
        return known

    def _nothing(self, _node: "Node", scope: Scope) -> Scope:
        return scope

    def _refused(self, node: "Node", scope: Scope) -> Scope:
        self._reader.trouble(node, "changes variables", rule="sets-environment")
        return scope

    def _function(self, node: "Node", scope: Scope) -> Scope:
        self._reader.trouble(
            node, "defines a function: its name may hide a program", rule="function"
        )
        for child in node.named_children:
            if child.type in self._kinds or child.type == "list":
                self._statement(child, scope)
        return scope

    def _pipeline(self, node: "Node", scope: Scope) -> Scope:
        previous: SimpleCommand | None = None
        for child in node.named_children:
            first = len(self._script.commands)
            if child.type == "command":
                self._command(child, scope, fed_by=previous)
            elif child.type == "redirected_statement":
                self._redirected(child, scope, fed_by=previous)
            else:
                self._statement(child, scope)
            added = self._script.commands[first:]
            previous = added[-1] if child.type == "command" and len(added) == 1 else None
        return scope

    def _for(self, node: "Node", scope: Scope) -> Scope:
        name = next((c for c in node.children if c.type == "variable_name"), None)
        items = [
            self._reader.read_command_word(child, scope)
            for at, child in enumerate(node.children)
            if node.field_name_for_child(at) == "value"
        ]
        variable = self._reader.text(name) if name else ""
        if not variable or not sets_only_itself(variable):
            self._reader.trouble(node, "sets a variable that others look at")
        bodies = [child for child in node.named_children if child.type in self._kinds]
        self._loops += len(items)
        if len(items) > MAX_ITEMS or self._loops > 4 * MAX_ITEMS or not items:
            items = [hole(f"${variable}", printed=True, environment=not items)]
        before = scope
        for item in items:
            inner = replace(before, bound={**before.bound, variable: item})
            for body in bodies:
                scope = either(scope, self._statement(body, inner)[0])
        return either(before, scope)

    def _counting_for(self, node: "Node", scope: Scope) -> Scope:
        self._reader.trouble(node, "counts in a loop")
        for child in node.named_children:
            if child.type in {"do_group", "compound_statement"}:
                self._statement(child, scope)
        return scope

    def _case(self, node: "Node", scope: Scope) -> Scope:
        after = scope
        for at, child in enumerate(node.children):
            if child.type == "case_item":
                after = either(after, self._statement(child, scope)[0])
            elif node.field_name_for_child(at) == "value":
                self._reader.read(child, scope)
        return after

    def _case_item(self, node: "Node", scope: Scope) -> Scope:
        for at, child in enumerate(node.children):
            if node.field_name_for_child(at) == "value":
                self._reader.read(child, scope)
            elif child.is_named:
                scope, _ = self._statement(child, scope)
        return scope

    def _assignments(self, node: "Node", scope: Scope) -> Scope:
        for child in node.named_children:
            scope = self._assignment(child, scope)
        return scope

    def _assignment(self, node: "Node", scope: Scope) -> Scope:
        name, value = self._assigned(node, scope)
        if not sets_only_itself(name):
            why = "tells programs or the shell what to run or load"
            self._reader.trouble(node, why, rule="sets-environment")
        self._add((), scope)
        return replace(scope, bound={**scope.bound, name: value})

    def _assigned(self, node: "Node", scope: Scope) -> tuple[str, Word]:
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        plain = name is not None and _NAME.fullmatch(self._reader.text(name))
        if name is None or not plain or (value and value.type == "array"):
            self._reader.trouble(node, "sets an array, or something that is no variable")
            for child in value.named_children if value else ():
                self._reader.read(child, scope)
            return self._reader.text(node).partition("=")[0], hole("", environment=True)
        word = self._reader.read_command_word(value, scope) if value else exact("")
        plain = any(child.type == "=" for child in node.children)
        return self._reader.text(name), word if plain else hole("", printed=True, environment=True)

    def _declaration(self, node: "Node", scope: Scope) -> Scope:
        text = self._reader.text(node)
        self._reader.trouble(node, "declares variables", rule="sets-environment")
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assigned(child, scope)
            else:
                self._reader.read(child, scope)
        self._add((exact(text.split()[0]),), scope)
        return scope

    def _test(self, node: "Node", scope: Scope) -> Scope:
        evaluates = node.children[0].type in {"[[", "(("}
        inner = self._reader.text(node)[len(node.children[0].type) : -len(node.children[-1].type)]
        if len(inner.strip()) + 2 > len(inner) or inner[:1].strip() or inner[-1:].strip():
            self._reader.trouble(node, "is no test: its brackets touch what is between them")
        for child in node.named_children:
            read_test(self._reader, child, scope, evaluates=evaluates)
        self._add((exact(node.children[0].type),), scope)
        return scope

    def _redirected(self, node: "Node", scope: Scope, fed_by: SimpleCommand | None = None) -> Scope:
        redirects: list[Redirect] = []
        bodies: list[Node] = []
        for child in node.named_children:
            if child.type in REDIRECTIONS:
                redirects += self._connections.read(child, scope)
            else:
                bodies.append(child)
        if len(bodies) == 1 and bodies[0].type == "command":
            return self._command(bodies[0], scope, fed_by=fed_by, redirects=tuple(redirects))
        self._add((), scope, redirects=tuple(redirects))
        for body in bodies:
            scope, _ = self._statement(body, scope)
        return scope

    def _command(
        self,
        node: "Node",
        scope: Scope,
        *,
        fed_by: SimpleCommand | None = None,
        redirects: tuple[Redirect, ...] = (),
    ) -> Scope:
        words: list[Word] = []
        prefix: list[tuple[str, Word]] = []
        inline: list[Redirect] = []
        last = -1
        for child in node.children:
            if child.type == "variable_assignment":
                prefix.append(self._assigned(child, scope))
            elif child.type in REDIRECTIONS:
                inline += self._connections.read(child, scope)
            else:
                if child.start_byte == last:
                    self._reader.trouble(child, "touches the word before it")
                last = child.end_byte
                words.append(self._word(child, scope))
        self._add(
            tuple(words),
            scope,
            prefix=tuple(prefix),
            redirects=(*inline, *redirects),
            fed_by=fed_by,
        )
        return self._after(words, scope, node)

    def _word(self, child: "Node", scope: Scope) -> Word:
        if not child.is_named:
            return self._anonymous(child)
        word = self._reader.read_command_word(child, scope)
        if child.type in {"simple_expansion", "expansion"}:
            return used_without_quotes(word)
        return replace(word, splits=True) if child.type == "command_substitution" else word

    def _anonymous(self, child: "Node") -> Word:
        text = self._reader.text(child)
        if text not in {"==", "=~", "=", "!=", "$"}:
            self._reader.trouble(child, "stands where a word is expected")
        return exact(text)

    def _after(self, words: list[Word], scope: Scope, node: "Node") -> Scope:
        name = words[0].text if words and words[0].exact else ""
        if name in {"cd", "chdir"}:
            return self._entering(words[1:], scope, node)
        if name == "read":
            names = [w.text for w in words[1:] if w.exact and not w.text.startswith("-")]
            for named in names:
                if not sets_only_itself(named):
                    self._reader.trouble(node, "sets a variable that others look at")
            unknown = {named: hole(f"${named}", printed=True) for named in names}
            return replace(scope, bound={**scope.bound, **unknown})
        return scope

    def _entering(self, words: list[Word], scope: Scope, node: "Node") -> Scope:
        targets = [w for w in words if not (w.exact and w.text in {"--", "-P", "-L"})]
        target = targets[0] if targets else exact(HOME)
        if len(targets) > 1 or not target.exact or target.text.startswith("-"):
            self._reader.trouble(node, "enters a directory that the text does not tell")
            return scope
        entered = tuple(dict.fromkeys(normpath(join(cwd, target.text)) for cwd in scope.cwds))
        if len(entered) > MAX_DIRECTORIES:
            self._reader.trouble(node, "enters one directory too many")
            return scope
        return replace(scope, cwds=entered)

    def _substituted(self, node: "Node", scope: Scope) -> None:
        for child in node.named_children:
            if child.type == "file_redirect":  # `$(< file)`
                self._add((), scope, redirects=tuple(self._connections.read(child, scope)))
            else:
                scope, _ = self._statement(child, scope)

    def _add(
        self,
        words: tuple[Word, ...],
        scope: Scope,
        *,
        prefix: tuple[tuple[str, Word], ...] = (),
        redirects: tuple[Redirect, ...] = (),
        fed_by: SimpleCommand | None = None,
    ) -> None:
        self._script.commands.append(
            SimpleCommand(
                words=words, prefix=prefix, redirects=redirects, cwds=scope.cwds, fed_by=fed_by
            )
        )
