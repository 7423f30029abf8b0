"""`luminaguard mcp`: other people's tools, behind the same policy, approval and audit."""

import importlib

import click

_COMMANDS = {
    "call": "luminaguard.cli.mcpcall:call",
    "gateway": "luminaguard.cli.mcpgateway:gateway",
    "install": "luminaguard.cli.mcpgateway:install",
    "tools": "luminaguard.cli.mcpcall:tools",
    "forget": "luminaguard.cli.mcptrust:forget",
    "list": "luminaguard.cli.mcptrust:list_",
    "trust": "luminaguard.cli.mcptrust:trust",
    "untrust": "luminaguard.cli.mcptrust:untrust",
}


class _LazyMcp(click.Group):
    """Imports a sub-command when it is called: the protocol's library is slow to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, sorted."""
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_LazyMcp)
def mcp() -> None:
    """Put a guard before MCP servers, for this agent or any other."""
