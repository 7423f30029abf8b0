"""What a tool is: a specification that models see, and a plan for the guest."""

from collections.abc import Mapping
from typing import Protocol

from luminaguard.domain.calls import JsonValue, ToolSpec
from luminaguard.domain.execution import Execution
from luminaguard.errors import ToolError


class Tool(Protocol):
    """Turns a call's arguments into a guest command. It runs nothing itself."""

    @property
    def spec(self) -> ToolSpec:
        """Name, description and schema as the model sees them."""
        ...

    def plan(self, arguments: Mapping[str, JsonValue], workspace: str) -> Execution:
        """Return the guest command for these arguments.

        `workspace` is the workspace's absolute path, the same in the guest as on the host.

        Raises:
            ToolError: the arguments do not fit the tool.
        """
        ...


def text_argument(arguments: Mapping[str, JsonValue], name: str, tool: str) -> str:
    """Return a required string argument.

    Raises:
        ToolError: it is missing or not a string, or holds a NUL byte.
    """
    value = arguments.get(name)
    if not isinstance(value, str):
        raise ToolError(f"{tool} needs a string argument {name!r}")
    if "\0" in value and name != "content":
        raise ToolError(f"{tool}: {name!r} holds a NUL byte")
    return value


def only(arguments: Mapping[str, JsonValue], names: tuple[str, ...], tool: str) -> None:
    """Refuse arguments that the tool does not know: what is not understood does not run.

    Raises:
        ToolError: an argument is unknown.
    """
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise ToolError(
            f"{tool} has no argument {unknown[0]!r}", hint=f"it takes: {', '.join(names)}"
        )


def schema(properties: Mapping[str, str], required: tuple[str, ...]) -> Mapping[str, JsonValue]:
    """Return a JSON Schema of string properties, name → description."""
    described: dict[str, JsonValue] = {
        name: {"type": "string", "description": text} for name, text in properties.items()
    }
    return {
        "type": "object",
        "properties": described,
        "required": list(required),
        "additionalProperties": False,
    }
