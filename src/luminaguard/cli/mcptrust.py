"""`luminaguard mcp trust` and its like: servers that you trust, with which definitions."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from luminaguard.cli.mcptools import definitions_in
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.verdict import Lane
from luminaguard.domain.visible import visible
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp import McpCall, ToolDefinition
from luminaguard.policy.mcp.judge import judge_mcp
from luminaguard.policy.mcp.pins import PinState
from luminaguard.policy.mcp.trust import TrustBook, TrustedServer

_MAX_NAME = 100
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_TOOLS = "What the server answers to tools/list, as JSON; - for standard input."


@click.command()
@click.argument("server")
@click.option(
    "--from", "identity", required=True, metavar="ORIGIN", help="Its command line or address."
)
@click.option("--tools", type=_FILE, required=True, metavar="FILE", help=_TOOLS)
@click.option("--accept", is_flag=True, help="Accept what changed since you trusted it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def trust(
    settings: Settings, *, server: str, identity: str, tools: Path, accept: bool, as_json: bool
) -> None:
    """Trust SERVER with the definitions that its tools have now.

    Pure reads of a trusted server run unasked. A definition that changes later counts as not
    trusted until you accept it: the difference is shown, and --accept takes it.
    """
    _plain(server, "name")
    _plain(identity, "origin")
    definitions = definitions_in(tools)
    book = _book(settings)
    known = _known(book, server)
    changes = list(_changes(known, identity, definitions)) if known else []
    if changes and not accept:
        for line in changes:
            click.echo(visible(line), err=True)
        raise PolicyError(
            f"{server} is not what you trusted",
            hint="read the difference above, then add --accept",
        )
    book.trust(server, identity, definitions)
    trusted = _known(book, server)
    if trusted is None:
        raise PolicyError(f"{server} could not be kept as trusted")
    _tell([trusted], changes, as_json=as_json)


@click.command()
@click.argument("server")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def untrust(settings: Settings, *, server: str, as_json: bool) -> None:
    """Trust SERVER no more: every call to it is asked about."""
    if not _book(settings).distrust(server):
        raise PolicyError(
            f"{visible(server)} is not trusted", hint="`luminaguard mcp list` shows which are"
        )
    click.echo(json.dumps({"untrusted": server}) if as_json else f"no longer trusted: {server}")


@click.command("list")
@click.argument("server", required=False)
@click.option("--from", "identity", metavar="ORIGIN", help="Where SERVER comes from now.")
@click.option("--tools", type=_FILE, metavar="FILE", help=f"Compare SERVER with FILE. {_TOOLS}")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def list_(
    settings: Settings,
    *,
    server: str | None,
    identity: str | None,
    tools: Path | None,
    as_json: bool,
) -> None:
    """List the servers that you trust, with their tools, or what changed of SERVER.

    Exit code 1 if SERVER is not trusted, or not as it is now.
    """
    if (tools or identity) and server is None:
        raise click.UsageError("name the SERVER to compare")
    servers = [one for one in _book(settings).servers() if server in {None, one.server}]
    changes: list[str] = []
    for one in servers if server else ():
        now = definitions_in(tools) if tools else tuple(one.tools.values())
        changes = list(_changes(one, identity or one.identity, now))
    _tell(servers, changes, as_json=as_json)
    if server is not None and (changes or not servers):
        if not (servers or as_json):
            click.echo(visible(f"{server} is not trusted: every call to it is asked about"))
        click.get_current_context().exit(1)


@click.command()
@click.option("--all", "everything", is_flag=True, required=True, help="All of them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def forget(settings: Settings, *, everything: bool, as_json: bool) -> None:
    """Trust no server any more, also where the file of trusted servers is damaged."""
    if not everything:
        raise click.UsageError("give --all, or use `luminaguard mcp untrust SERVER`")
    _book(settings).forget_all()
    click.echo(json.dumps({"servers": []}) if as_json else "no MCP server is trusted any more")


def _book(settings: Settings) -> TrustBook:
    return TrustBook(directory=settings.trust_dir)


def _known(book: TrustBook, server: str) -> TrustedServer | None:
    return next((one for one in book.servers() if one.server == server), None)


def _plain(text: str, what: str) -> None:
    """Names stand in rules and on cards: one that looks like another must not be trusted."""
    if not text.strip() or visible(text) != text or (what == "name" and len(text) > _MAX_NAME):
        raise PolicyError(
            f"{visible(text)!r} is no {what} of a server",
            hint=f"at most {_MAX_NAME} characters that can be seen",
        )


def _changes(
    known: TrustedServer, identity: str, definitions: Sequence[ToolDefinition]
) -> Iterator[str]:
    """Yield what is not as it was when the user trusted the server, line by line."""
    if identity != known.identity:
        yield f"it comes from {identity}, not from {known.identity}"
    for definition in definitions:
        found = known.check(definition)
        if found.state is not PinState.SAME:
            yield f"{definition.name} is {found.state.value}:"
            yield from (f"  {line}" for line in found.difference)
    for name in sorted(known.tools.keys() - {definition.name for definition in definitions}):
        yield f"{name} is gone"


def _tell(servers: Sequence[TrustedServer], changes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        told: list[JsonValue] = [_server_json(one) for one in servers]
        click.echo(json.dumps({"servers": told, "changes": [*changes]}))
        return
    for one in servers:
        click.echo(visible(f"{one.server}  trusted, from {one.identity}"))
        for name, definition in sorted(one.tools.items()):
            runs = "runs unasked" if _is_read(one, definition) else "asked about"
            click.echo(visible(f"  {name}  {runs}  sha256:{definition.digest[:16]}"))
    if not servers:
        click.echo("no MCP server is trusted: every call to one is asked about")
    for line in changes:
        click.echo(visible(line))


def _server_json(one: TrustedServer) -> dict[str, JsonValue]:
    return {
        "server": one.server,
        "identity": one.identity,
        "tools": [
            {"name": name, "sha256": tool.digest, "runs_unasked": _is_read(one, tool)}
            for name, tool in sorted(one.tools.items())
        ],
    }


def _is_read(one: TrustedServer, definition: ToolDefinition) -> bool:
    """Say whether a call runs unasked as far as its arguments say nothing else."""
    call = ToolCall(call_id="list", tool=definition.name, arguments={})
    found = judge_mcp(McpCall(server=one.server, call=call, trusted=True, definition=definition))
    return found.lane is Lane.GREEN
