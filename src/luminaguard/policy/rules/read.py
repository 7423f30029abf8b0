"""Reading a rules file. Whatever is not understood is an error that says where and what was meant.

[[deny]]
name = "no-push"
reason = "people push"
command = "git push *"
match = ["git push origin main"]
not_match = ["git pull"]
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import cast

from luminaguard.domain.changeset import ChangeKind
from luminaguard.errors import PolicyError
from luminaguard.policy.bounds import Bounds
from luminaguard.policy.patterns import PathPattern, WordPattern
from luminaguard.policy.rules.examples import check_examples
from luminaguard.policy.rules.rule import Action, Rule, Tier

MAX_BYTES = 256 * 1024
MAX_RULES = 500

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CONDITIONS = ("tool", "server", "path", "host", "command", "arguments")
_BOUNDS = ("kinds", "max_changes")
_KEYS = ("name", "reason", *_CONDITIONS, "match", "not_match")

Table = Mapping[str, object]


def read_rules(content: bytes, *, tier: Tier, source: str) -> tuple[Rule, ...]:
    """Return the rules of a file, in order, each checked against its own examples.

    Raises:
        PolicyError: the file is not TOML, too large, or holds what is not a rule.
    """
    if len(content) > MAX_BYTES:
        raise PolicyError(f"{source} is larger than {MAX_BYTES // 1024} KiB")
    try:
        tables: Table = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"{source} is not valid TOML: {error}") from error
    _known(tables, tuple(action.value for action in Action), source, "entry")
    rules: list[Rule] = []
    for action in Action:
        for at, table in enumerate(_tables(tables.get(action.value, []), action, source), start=1):
            rules.append(_rule(table, at, action, tier, source))
    if len(rules) > MAX_RULES:
        raise PolicyError(f"{source} holds {len(rules)} rules; at most {MAX_RULES} are read")
    _unique(rules, source)
    return tuple(rules)


def _rule(table: Table, at: int, action: Action, tier: Tier, source: str) -> Rule:
    where = f"{source}: [[{action.value}]] number {at}"
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PolicyError(
            f"{where} has no proper name", hint='write name = "no-push": small letters, digits, -'
        )
    where = f"{source}: rule {name!r}"
    keys = (*_KEYS, *_BOUNDS) if action is Action.ALLOW else _KEYS
    _known(table, keys, where, "key")
    if not any(key in table for key in _CONDITIONS):
        raise PolicyError(
            f"{where} says nothing of what it is about", hint=f"add one of {', '.join(_CONDITIONS)}"
        )
    paths = tuple(PathPattern(text) for text in _texts(table, "path", where))
    rule = Rule(
        name=name,
        action=action,
        tier=tier,
        source=source,
        reason=_text(table, "reason", where),
        tools=_texts(table, "tool", where),
        servers=_texts(table, "server", where),
        paths=paths,
        hosts=_texts(table, "host", where),
        commands=_commands(table, where),
        arguments=_arguments(table, where),
        bounds=_bounds(table, paths, where),
    )
    check_examples(rule, _list(table, "match", where), _list(table, "not_match", where), where)
    return rule


def _commands(table: Table, where: str) -> tuple[WordPattern, ...]:
    found: list[WordPattern] = []
    for text in _texts(table, "command", where):
        try:
            found.append(WordPattern.of(text))
        except ValueError as error:
            raise PolicyError(
                f"{where}: command {text!r}: {error}", hint='write command = "git push *"'
            ) from error
    return tuple(found)


def _arguments(table: Table, where: str) -> dict[str, str]:
    given = table.get("arguments", {})
    if not isinstance(given, dict):
        raise PolicyError(f"{where}: arguments must be a table", hint='{ branch = "feature/*" }')
    found: dict[str, str] = {}
    for name, pattern in cast("dict[str, object]", given).items():
        if not isinstance(pattern, str):
            raise PolicyError(f"{where}: the pattern of argument {name!r} must be text")
        found[name] = pattern
    return found


def _bounds(table: Table, paths: tuple[PathPattern, ...], where: str) -> Bounds:
    kinds = _texts(table, "kinds", where)
    known = tuple(kind.value for kind in ChangeKind)
    for kind in kinds:
        if kind not in known:
            raise PolicyError(f"{where}: unknown kind {kind!r}", hint=_suggestion(kind, known))
    most = table.get("max_changes")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise PolicyError(f"{where}: max_changes must be a number, not below 0")
    return Bounds(
        paths=paths,
        kinds=frozenset(map(ChangeKind, kinds)) if kinds else frozenset(ChangeKind),
        max_changes=most,
    )


def _tables(value: object, action: Action, source: str) -> Iterable[Table]:
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, dict) for item in items):
        raise PolicyError(
            f"{source}: {action.value} must be a list of tables", hint=f"write [[{action.value}]]"
        )
    return cast("list[Table]", items)


def _text(table: Table, key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise PolicyError(f"{where}: {key} must be text")
    return value


def _texts(table: Table, key: str, where: str) -> tuple[str, ...]:
    """Return one text or a list of them; none of them may be empty."""
    value = table.get(key, [])
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise PolicyError(f"{where}: {key} must be text or a list of texts")
    texts = cast("list[object]", items)
    if (key in table and not texts) or not all(isinstance(text, str) and text for text in texts):
        raise PolicyError(f"{where}: {key} must be text or a list of texts, none of them empty")
    return tuple(cast("list[str]", texts))


def _list(table: Table, key: str, where: str) -> list[object]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise PolicyError(f"{where}: {key} must be a list of examples")
    return cast("list[object]", value)


def _known(table: Table, keys: tuple[str, ...], where: str, what: str) -> None:
    for key in table:
        if key not in keys:
            raise PolicyError(f"{where}: unknown {what} {key!r}", hint=_suggestion(key, keys))


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _unique(rules: Iterable[Rule], source: str) -> None:
    names: set[str] = set()
    for rule in rules:
        if rule.name in names:
            raise PolicyError(f"{source}: two rules are named {rule.name!r}")
        names.add(rule.name)
