"""The published description of the interface, as a check of requests and answers."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_PLACE = Path(__file__).parents[1] / "data" / "firecracker-api.yaml"
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
}


@cache
def description() -> dict[str, Any]:
    return yaml.safe_load(_PLACE.read_text(encoding="utf-8"))


def operation(method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Return what is said of a request, and the parameters in its path; None if nothing is."""
    for template, methods in description()["paths"].items():
        found = _match(template, path)
        if found is not None and method.lower() in methods:
            return methods[method.lower()], found
    return None


def body_problem(said: dict[str, Any], body: object, *, partial: bool = False) -> str | None:
    """Return why a body does not fit an operation, None if it does."""
    wanted = next((one for one in said.get("parameters", ()) if one["in"] == "body"), None)
    if wanted is None:
        return None if body is None else "a body where none is taken"
    if body is None:
        return "the body is missing" if wanted.get("required") else None
    return problem(wanted["schema"], body, "body", partial=partial)


def answer_problem(said: dict[str, Any], status: int, body: object) -> str | None:
    """Return why an answer is not one that the description knows."""
    responses = said["responses"]
    known = responses.get(status) or responses.get("default")
    if known is None:
        return f"status {status} is not described"
    schema = known.get("schema")
    if schema is None:
        return None if body is None else "content where none is described"
    return problem(schema, body, "answer")


def problem(
    schema: dict[str, Any], value: object, where: str, *, partial: bool = False
) -> str | None:
    """Return why a value does not fit a schema; None if it does. Unknown fields never fit."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return problem(description()["definitions"][name], value, where, partial=partial)
    kind = schema.get("type", "object")
    if not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
        return f"{where}: invalid type, expected {kind}"
    if "enum" in schema and value not in [str(one) for one in schema["enum"]]:
        return f"{where}: unknown variant `{value}`"
    if kind == "integer" and _is_out_of_range(schema, value):
        return f"{where}: {value} is out of range"
    if isinstance(value, dict):
        return _object_problem(schema, value, where, partial=partial)
    if isinstance(value, list):
        each = (problem(schema["items"], one, f"{where}[]") for one in value)
        return next((found for found in each if found), None)
    return None


def _is_out_of_range(schema: dict[str, Any], value: Any) -> bool:
    return not schema.get("minimum", value) <= value <= schema.get("maximum", value)


def _object_problem(
    schema: dict[str, Any], value: dict[str, Any], where: str, *, partial: bool
) -> str | None:
    properties = schema.get("properties", {})
    for name, one in value.items():
        if name not in properties:
            return f"{where}: unknown field `{name}`"
        found = problem(properties[name], one, f"{where}.{name}")
        if found:
            return found
    missing = [name for name in schema.get("required", ()) if name not in value]
    return f"{where}: missing field `{missing[0]}`" if missing and not partial else None


def _match(template: str, path: str) -> dict[str, str] | None:
    ours, theirs = template.split("/"), path.split("/")
    if len(ours) != len(theirs):
        return None
    found: dict[str, str] = {}
    for left, right in zip(ours, theirs, strict=True):
        if left.startswith("{"):
            found[left.strip("{}")] = right
        elif left != right:
            return None
    return found
