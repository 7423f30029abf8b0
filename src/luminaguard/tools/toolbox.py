"""The set of tools of a session."""

from collections.abc import Mapping, Sequence

from luminaguard.domain.calls import ToolCall, ToolSpec
from luminaguard.domain.execution import Execution
from luminaguard.errors import ToolError
from luminaguard.tools.commands import PythonTool, ShellTool
from luminaguard.tools.files import FILE_TOOLS
from luminaguard.tools.tool import Tool


class Toolbox:
    """Tools by name. What is not in it cannot be called."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools: Mapping[str, Tool] = {tool.spec.name: tool for tool in tools}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What a model is offered."""
        return tuple(tool.spec for tool in self._tools.values())

    def plan(self, call: ToolCall, workspace: str) -> Execution:
        """Turn a call into a guest command.

        Raises:
            ToolError: the tool is unknown, or the arguments do not fit it.
        """
        tool = self._tools.get(call.tool)
        if tool is None:
            raise ToolError(
                f"there is no tool {call.tool!r}", hint=f"known: {', '.join(self._tools)}"
            )
        return tool.plan(call.arguments, workspace)


def agent_tools() -> tuple[Tool, ...]:
    """Return the tools that a model is offered."""
    return (ShellTool(), PythonTool(), *FILE_TOOLS)
