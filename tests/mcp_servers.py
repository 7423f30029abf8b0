"""MCP servers for tests, on the SDK's low-level server: they count what reaches them."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server

Context = ServerRequestContext[Any, Any]
READS = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)


def tool(name: str, description: str = "", *, reads: bool = False) -> types.Tool:
    """Return a tool that takes one text."""
    return types.Tool(
        name=name,
        description=description,
        input_schema={"type": "object", "properties": {"text": {"type": "string"}}},
        annotations=READS if reads else None,
    )


GET_NOTE = tool("get_note", "Get a note.", reads=True)
SEND_MAIL = tool("send_mail", "Send a mail.")


@dataclass(slots=True)
class Counting:
    """A server whose answers are given, and that remembers every call."""

    tools: list[types.Tool] = field(default_factory=lambda: [GET_NOTE, SEND_MAIL])
    answers: Mapping[str, Callable[[Context, dict[str, Any]], Any]] = field(
        default_factory=dict[str, Callable[[Context, dict[str, Any]], Any]]
    )
    file: Path | None = None
    """Where calls are written down, for servers in processes of their own."""
    calls: list[str] = field(default_factory=list[str])

    def server(self) -> Server[Any]:
        """Return the server."""
        return Server("counting", on_list_tools=self._list, on_call_tool=self._call)

    async def _list(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del context, params
        return types.ListToolsResult(tools=list(self.tools))

    async def _call(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        self.calls.append(params.name)
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(f"{params.name}\n")
        answer = self.answers.get(params.name)
        if answer is not None:
            found = answer(context, params.arguments or {})
            return await found if hasattr(found, "__await__") else found
        return said(f"{params.name} done")


def said(text: str) -> types.CallToolResult:
    """Return a result of one text."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def _main(file: str) -> None:
    from mcp.server.stdio import stdio_server

    server = Counting(file=Path(file)).server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1])
