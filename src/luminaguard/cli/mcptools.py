"""Reading the definitions of an MCP server's tools from a file, as `tools/list` has them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, cast

import click

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp import ToolDefinition

MAX_BYTES = 16 * 1024 * 1024
_HINT = 'write {"tools": [{"name": …, "description": …, "inputSchema": …}]}'


def definitions_in(path: Path) -> tuple[ToolDefinition, ...]:
    """Return the tools in a file: an object with `tools`, or a list; `-` is standard input.

    Raises:
        PolicyError: it holds something else, no tool, or two of one name.
    """
    with click.open_file(str(path), "rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("it is larger than 16 MiB")
        document: object = json.loads(content, parse_constant=_refuse)
        if isinstance(document, dict):
            document = cast("dict[str, object]", document).get("tools")
        if not isinstance(document, list) or not document:
            raise ValueError("it holds no list of tools")
        found = tuple(_definition(entry) for entry in cast("list[object]", document))
        if len({one.name for one in found}) != len(found):
            raise ValueError("two of its tools have the same name")
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path} cannot be read as tools: {error}", hint=_HINT) from error
    return found


def _definition(entry: object) -> ToolDefinition:
    if not isinstance(entry, dict):
        raise ValueError("a tool is not an object")  # noqa: TRY004 - a bad file, not a bug
    fields = cast("dict[str, JsonValue]", entry)
    name, description = fields.get("name"), fields.get("description")
    if not isinstance(name, str) or not name:
        raise ValueError("a tool has no name")
    if description is not None and not isinstance(description, str):
        raise ValueError(f"the description of {name!r} is not text")
    schema = fields.get("inputSchema", fields.get("input_schema"))
    return ToolDefinition(
        name=name,
        description=description or "",
        input_schema=_object(schema, name),
        annotations=_object(fields.get("annotations"), name),
    )


def _object(value: JsonValue, name: str) -> Mapping[str, JsonValue]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"schema and annotations of {name!r} must be objects")  # noqa: TRY004
    return cast("Mapping[str, JsonValue]", value)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
