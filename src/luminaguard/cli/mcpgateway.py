"""`luminaguard mcp gateway` and `mcp install`: one guarded server for any client."""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import click

from luminaguard.approval.approver import Approver
from luminaguard.cli.options import approval_timeout_option
from luminaguard.config import Settings
from luminaguard.domain.visible import visible
from luminaguard.errors import ConfigError
from luminaguard.gateway.install import CLIENTS, instructions

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.lowlevel.server import Server

    from luminaguard.runtime import Session

# The same names as in gateways.py, which is too slow to import for --help.
_APPROVERS = ("queue", "deny", "all")

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The servers, as mcpServers JSON.  [default: mcp.json beside the configuration file]",
)
gateway_approver_option = click.option(
    "--approver",
    type=click.Choice(_APPROVERS),
    default="deny",
    show_default=True,
    help="Who decides: you in another terminal with `luminaguard approvals` or `luminaguard tui` "
    "(queue), nobody and nothing is sent (deny), or nobody and everything is (all). The terminal "
    "itself belongs to the client.",
)


def servers_file(settings: Settings, chosen: Path | None) -> Path:
    """Return the file of servers."""
    return chosen or settings.config_file.parent / "mcp.json"


def say(line: str) -> None:
    """Tell the user something beside the protocol."""
    click.echo(f"luminaguard: {visible(line)}", err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    settings: Settings
    file: Path
    workspace: Path | None
    approver: str
    approval_timeout_s: float | None


@click.command()
@config_option
@click.option(
    "-w",
    "--workspace",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also offer the guarded tools (shell, Python, files) on this project.",
)
@gateway_approver_option
@approval_timeout_option
@click.option(
    "--http",
    "over_http",
    is_flag=True,
    help="Listen on loopback with a bearer token, instead of standard input.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8765,
    show_default=True,
    help="With --http; 0: any free one.",
)
@click.pass_obj
def gateway(
    settings: Settings,
    *,
    config_file: Path | None,
    workspace: Path | None,
    approver: str,
    approval_timeout_s: float | None,
    over_http: bool,
    port: int,
) -> None:
    """Be one MCP server in front of many: each call is judged, asked about and recorded."""
    work = _Work(
        settings=settings,
        file=servers_file(settings, config_file),
        workspace=workspace,
        approver=approver,
        approval_timeout_s=approval_timeout_s,
    )
    anyio.run(_until_told_to_end, work, port if over_http else None)
    sys.stdout.flush()


@click.command()
@click.argument("client", type=click.Choice(CLIENTS))
@config_option
@click.option("-w", "--workspace", type=click.Path(path_type=Path), metavar="DIR")
@gateway_approver_option
@click.pass_obj
def install(
    settings: Settings,
    *,
    client: str,
    config_file: Path | None,
    workspace: Path | None,
    approver: str,
) -> None:
    """Print what puts the gateway into CLIENT, and what switches its own shell off."""
    program = Path(sys.argv[0])
    name = str(program.resolve()) if program.name == "luminaguard" else "luminaguard"
    command = [
        name,
        "mcp",
        "gateway",
        "--config",
        str(servers_file(settings, config_file).resolve()),
    ]
    if workspace is not None:
        command += ["-w", str(workspace.resolve())]
    command += ["--approver", approver if approver != "deny" else "queue"]
    click.echo(instructions(client, tuple(command)))


async def _until_told_to_end(work: _Work, port: int | None) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                async for _ in signals:
                    tasks.cancel_scope.cancel()
                    return

            tasks.start_soon(watch)
            await _serve(work, port)
            tasks.cancel_scope.cancel()


async def _serve(work: _Work, port: int | None) -> None:
    # Slow to import; not needed for --help.
    from luminaguard.gateway.configured import ServerFile, read_servers  # noqa: PLC0415
    from luminaguard.gateways import opened_gateway  # noqa: PLC0415

    is_absent = work.workspace is not None and not work.file.exists()
    servers = ServerFile(servers=()) if is_absent else read_servers(work.file)
    async with opened_gateway(
        work.settings,
        servers,
        approver=work.approver,
        approval_timeout_s=work.approval_timeout_s,
        session=_session(work),
        notice=say,
    ) as front:
        if port is None:
            await _over_stdio(front.server())
        else:
            await _over_http(front.server(), work.settings, port)


def _session(work: _Work) -> "Callable[[Approver], Session] | None":
    if work.workspace is None:
        return None
    workspace = work.workspace
    from luminaguard.runtime import Session  # noqa: PLC0415

    def made(approver: Approver) -> "Session":
        return Session(
            workspace,
            approver=approver,
            settings=work.settings,
            approval_timeout_s=work.approval_timeout_s,
            notice=say,
        )

    return made


async def _over_stdio(server: "Server[Any]") -> None:
    from mcp.server.stdio import stdio_server  # noqa: PLC0415

    from luminaguard.gateway.stdio import Lines  # noqa: PLC0415

    descriptor = os.dup(0)
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        async with stdio_server(stdin=cast("anyio.AsyncFile[str]", Lines(descriptor))) as (
            read,
            write,
        ):
            await server.run(read, write, server.create_initialization_options())
    finally:
        os.close(descriptor)


async def _over_http(server: "Server[Any]", settings: Settings, port: int) -> None:
    from luminaguard.gateway.http import HOST, PATH, Listener, guarded_app, token_at  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {HOST}:{port}: {error}", hint="--port 0"
            ) from error
        bound = listening.getsockname()[1]
        token = token_at(settings.state_dir / "mcp" / "gateway-token", say)
        listener = Listener(guarded_app(server, port=bound, token=token))
        say(f"the gateway listens on http://{HOST}:{bound}{PATH}")
        try:
            await listener.serve(sockets=[listening])
        finally:
            listener.should_exit = True
