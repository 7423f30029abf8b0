"""Reads the table from its files, strictly: an unknown key or a malformed option is an error.

The examples that stand next to each entry are checked by `check_examples` of the commands module:
in the tests for the files of the package, whenever a file of a user's own is loaded.
"""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import cast

from luminaguard.errors import PolicyError
from luminaguard.policy.programs.program import Effect, Operands, Program, Reads, Table, Value

_KEYS = frozenset({
    "options", "operands", "reads", "inert", "style", "bundle", "counts", "plus", "most", "least",
    "frees", "files", "each", "needs", "gives", "recursive", "wraps", "assigns", "also", "safe",
    "ask", "writes", "deletes", "runs", "reaches", "lists",
})  # fmt: skip
_REFUSALS = ("writes", "deletes", "runs", "reaches", "lists")
_OPTION = re.compile(r"(?P<dashes>--?|\+)(?P<name>[^=?]*)(?P<value>=@|=s|==@|==|=|\?|)")


@cache
def built_in() -> Table:
    """Return the package's own table. Measured: benchmarks/policy.py prints how long it takes."""
    found = sorted(
        (
            entry
            for entry in files("luminaguard.policy.programs").iterdir()
            if entry.name.endswith(".toml")
        ),
        key=lambda entry: entry.name,
    )
    return table({entry.name: entry.read_text(encoding="utf-8") for entry in found})


def table(sources: Mapping[str, str]) -> Table:
    """Return the table of the given texts, name of the file → TOML.

    Raises:
        PolicyError: A file is not TOML, or says something that has no meaning.
    """
    programs: dict[str, Program] = {}
    aliases: dict[str, str] = {}
    effects: dict[str, Effect] = {}
    for name, text in sources.items():
        try:
            parsed = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise PolicyError(f"{name}: {exc}", hint="the file must be TOML") from exc
        effects.update(_effects(name, parsed.pop("effect", [])))
        for key, value in parsed.items():
            program, others = _program(name, key, value)
            programs[key] = program
            aliases.pop(key, None)
            aliases.update(dict.fromkeys(others, key))
    for key in programs:
        aliases.pop(key, None)
    names = [*programs, *aliases]
    parents = frozenset(
        " ".join(words[:count]) for words in map(str.split, names) for count in range(1, len(words))
    )
    versioned = frozenset(n for n in (*names, *parents, *effects) if " " not in n)
    return Table(programs, aliases, effects, parents, versioned)


def _program(file: str, name: str, entry: object) -> tuple[Program, list[str]]:
    if not isinstance(entry, dict):
        raise PolicyError(f"{file}: {name!r} must be a table", hint=f"write [{name}]")
    given = cast("dict[str, object]", entry)
    for key in given:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            raise PolicyError(
                f"{file}: {name!r} has an unknown key {key!r}",
                hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(_KEYS)}",
            )
    whole = given.get("style") == "words"
    refused = {
        option: kind
        for kind in _REFUSALS
        for option in _options(file, str(given.get(kind, "")), whole=whole)
    }
    options = _options(file, str(given.get("options", "")), whole=whole)
    if both := set(options) & set(refused):
        raise PolicyError(
            f"{file}: {name!r} lists {min(both)!r} as a read and as no read",
            hint="take it out of one of the two",
        )
    first = Program(
        name=name,
        options=options,
        refused=refused,
        operands=Operands(str(given.get("operands", "paths"))),
        reads=Reads(str(given.get("reads", "content"))),
        inert=bool(given.get("inert")),
        whole=whole,
        bundle=bool(given.get("bundle")),
        counts=bool(given.get("counts")),
        plus=bool(given.get("plus")),
        most=_number(given.get("most"), 10_000),
        least=_number(given.get("least"), 0),
        frees=_names(given.get("frees")),
        each=str(given.get("each", "")),
        files=str(given.get("files", "")),
        needs=_names(given.get("needs")),
        gives=_names(given.get("gives")),
        recursive=_names(given.get("recursive")),
        wraps=_number(given.get("wraps"), -1),
        assigns=bool(given.get("assigns")),
        safe=_examples(given.get("safe", ())),
        ask=_examples(given.get("ask", ())),
    )
    others = [part.strip() for part in str(given.get("also", "")).split(",") if part]
    return first, others


def _number(given: object, default: int) -> int:
    return given if isinstance(given, int) else default


def _names(given: object) -> frozenset[str]:
    return frozenset(str(given or "").split())


def _examples(given: object) -> tuple[str, ...]:
    return tuple(map(str, cast("list[object]", given)))


def _options(file: str, text: str, *, whole: bool) -> dict[str, Value]:
    """Read `-abc -n= --all --color?`: letters after one dash are options of their own."""
    found: dict[str, Value] = {}
    for token in text.split():
        match = _OPTION.fullmatch(token)
        if match is None or not match["name"]:
            raise PolicyError(f"{file}: {token!r} is no option", hint="options begin with a dash")
        value = Value(match["value"])
        if match["dashes"] == "-" and not whole:
            found.update({f"-{letter}": value for letter in match["name"]})
        else:
            found[match["dashes"] + match["name"]] = value
    return found


def _effects(file: str, entries: object) -> dict[str, Effect]:
    found: dict[str, Effect] = {}
    for entry in cast("list[dict[str, object]]", entries):
        given = dict(entry)
        names = str(given.pop("programs", "")).split()
        names += [part.strip() for part in str(given.pop("commands", "")).split(",") if part]
        try:
            effect = Effect(**given)  # type: ignore[arg-type]
        except TypeError as exc:
            hint = "an effect has rule, risk, why, and programs or commands"
            raise PolicyError(f"{file}: an effect is malformed: {exc}", hint=hint) from exc
        found.update(dict.fromkeys(names, effect))
    return found
