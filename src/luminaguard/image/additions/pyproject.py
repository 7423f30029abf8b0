"""The dependencies that a pyproject.toml declares: its own, all extras' and all groups'."""

import re
import tomllib
from typing import cast

from luminaguard.errors import ImageError
from luminaguard.image.places import canonical_name

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def declared(text: str, where: str) -> list[str]:
    """Return requirement lines; those that name the project itself (its extras) are left out.

    Source: PyPA, "pyproject.toml specification" and "Dependency Groups".

    Raises:
        ImageError: it is not TOML, or its dependencies are not lists of text.
    """
    try:
        table = _table(tomllib.loads(text), where)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ImageError(f"{where} is not valid TOML: {error}") from None
    project = _table(table.get("project", {}), where)
    lists = [project.get("dependencies", [])]
    lists += _table(project.get("optional-dependencies", {}), where).values()
    lists += _table(table.get("dependency-groups", {}), where).values()
    own = canonical_name(str(project.get("name", "")))
    lines = [line for each in lists for line in _lines(each, where)]
    return [line for line in lines if canonical_name(_named(line)) != own]


def _named(line: str) -> str:
    found = _NAME.match(line.strip())
    return found[0] if found else ""


def _table(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ImageError(f"{where}: dependencies are not written as the specification says")
    return cast("dict[str, object]", value)


def _lines(value: object, where: str) -> list[str]:
    if not isinstance(value, list):
        raise ImageError(f"{where}: dependencies are not a list")
    # A group may include another one by a table: that one is listed by itself.
    return [item for item in cast("list[object]", value) if isinstance(item, str)]
