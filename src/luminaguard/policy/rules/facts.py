"""What rules and grants look at in a call: its tool, its commands' words, paths and hosts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.policy.context import CallContext
from luminaguard.policy.patches import Unreadable, read_patch
from luminaguard.policy.paths import program_name
from luminaguard.policy.rules.spoken import Said, is_read, only_reads, spoken

_LOOSE = re.compile(r"""[\s'"`;|&<>(){}\[\],=$\\]+""")
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/@]*@)?(\[[^\]]+\]|[^\s/:?#'\"]+)")
_REMOTE = re.compile(r"(?:^|\s)[\w.-]+@([\w.-]+):")
_MAX_WORDS = 10_000
"""Of a call, that rules look at: one that has more is too long to be judged anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A call, taken apart. Names only: nothing is looked up."""

    call: ToolCall
    context: CallContext
    server: str = ""
    """MCP server; empty for built-in tools."""
    trusted: bool = True
    """The user trusts the server, and its tool is the one that was pinned."""
    commands: tuple[Said, ...] = ()
    """Every command of the call."""
    loose: tuple[str, ...] = ()
    """Words of text that could not be read as commands, or is a program's code."""
    inner: tuple[str, ...] = ()
    """Words within single words of what does more than read: code, nested commands."""
    names: frozenset[str] = frozenset()
    """All these words in small letters and without directories: most rules are done with these."""
    certain: bool = True
    """Nothing but the words of `commands` decides what runs: no expansion, no redirection, no input
    or variables of the caller's."""
    piped: str = ""
    """Text that gets its input through a pipe."""
    paths: tuple[str, ...] = ()
    """What the call names: relative to the workspace, or absolute outside of it."""
    hosts: tuple[str, ...] = ()
    runs: bool = False
    """The call runs commands or code, so that `commands` is all that it does."""

    @property
    def is_plain(self) -> bool:
        """Whether the words say it all. What allows covers nothing else."""
        return self.certain and is_read(self.piped, self.context)


def facts_of(
    call: ToolCall, context: CallContext, *, server: str = "", trusted: bool = True
) -> Facts:
    """Take a call apart. Never fails: what cannot be read makes the call not plain."""
    texts = tuple(_texts(call.arguments))[:_MAX_WORDS]
    hosts = _hosts(texts)
    if server or call.tool not in _RUNNERS:
        named = _named(texts, context) if server else _files(call, context)
        return Facts(
            call=call,
            context=context,
            server=server,
            trusted=trusted,
            paths=tuple(named),
            hosts=hosts,
        )
    said = spoken(call.tool, call.arguments, context)
    words = tuple(chain.from_iterable(said.words for said in said.commands))[:_MAX_WORDS]
    loose = split_loosely(said.unread)
    inner = tuple(_inner_words(said.commands))
    return Facts(
        call=call,
        context=context,
        commands=said.commands,
        loose=loose,
        inner=inner,
        names=frozenset(program_name(word.lower()) for word in (*words, *loose, *inner)),
        piped=said.piped,
        certain=said.is_plain and not set(call.arguments) - _MAIN_ARGUMENTS,
        paths=tuple(_named_by(said.commands, (*loose, *said.targets), context)),
        hosts=tuple(dict.fromkeys((*hosts, *_hosts(words)))),
        runs=True,
    )


def split_loosely(text: str) -> tuple[str, ...]:
    """Return the words of text that is not read as commands, whatever stands between them."""
    return tuple(word for word in _LOOSE.split(text) if word)[:_MAX_WORDS]


def _inner_words(commands: Sequence[Said]) -> Iterator[str]:
    for said in commands:
        texts = [word for word in said.words if _LOOSE.search(word)]
        if texts and not only_reads(said):
            for text in texts:
                yield from split_loosely(text)


_RUNNERS = frozenset({"exec", "shell", "python"})
_MAIN_ARGUMENTS = frozenset({"argv", "command", "code"})


def _files(call: ToolCall, context: CallContext) -> Iterator[str]:
    """Yield the files that a call to a built-in tool is about, by its own account."""
    for path in patch_paths(call) if call.tool == "apply_patch" else [call.arguments.get("path")]:
        if isinstance(path, str) and path and "\0" not in path:
            yield _place(path, context)


def patch_paths(call: ToolCall) -> tuple[str, ...]:
    """Return the files that a call to `apply_patch` names; none where that is not certain."""
    try:
        return tuple(read_patch(str(call.arguments.get("patch", ""))).paths)
    except Unreadable:
        return ()


def _texts(value: JsonValue) -> Iterator[str]:
    """Yield every text in a call's arguments, however deep."""
    todo: list[JsonValue] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            todo += item.values()
        elif isinstance(item, Sequence):
            todo += item


def _hosts(texts: Sequence[str]) -> tuple[str, ...]:
    found = (
        match.group(1).lower().rstrip(".")
        for text in texts
        for pattern in (_HOST, _REMOTE)
        for match in pattern.finditer(text)
    )
    return tuple(dict.fromkeys(found))


def _named_by(
    commands: Sequence[Said], others: Sequence[str], context: CallContext
) -> Iterator[str]:
    """Yield what commands may name, each from the directory that it runs in."""
    for said in commands:
        yield from _named(said.words[1:], said.context)
    yield from _named(others, context)


def _named(words: Sequence[str], context: CallContext) -> Iterator[str]:
    for word in words:
        value = word.partition("=")[2] if word.startswith("-") else word
        if value and "\0" not in value:
            yield _place(value, context)


def _place(path: str, context: CallContext) -> str:
    whole = context.resolve(path)
    return context.inside(whole) or whole
