"""`luminaguard mcp tools` and `mcp call`: what servers offer, how it is judged, and one call."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import anyio
import click

from luminaguard.cli.mcpgateway import (
    config_option,
    gateway_approver_option,
    say,
    servers_file,
)
from luminaguard.cli.options import approval_timeout_option
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.visible import visible
from luminaguard.errors import ConfigError


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def tools(settings: Settings, *, config_file: Path | None, as_json: bool) -> None:
    """List the tools of all servers, each with what a call without arguments is judged as."""
    found = anyio.run(_tools, settings, servers_file(settings, config_file))
    if as_json:
        click.echo(json.dumps({"tools": found}))
        return
    for tool in found:
        click.echo(visible(f"{tool['name']}  {tool['lane']}, {tool['risk']}"))
        for reason in cast("list[str]", tool["reasons"]):
            click.echo(visible(f"    {reason}"))
    if not found:
        click.echo("no server offers a tool")


@click.command()
@config_option
@gateway_approver_option
@approval_timeout_option
@click.argument("name")
@click.argument("arguments", default="{}")
@click.pass_obj
def call(
    settings: Settings,
    *,
    config_file: Path | None,
    approver: str,
    approval_timeout_s: float | None,
    name: str,
    arguments: str,
) -> None:
    """Call the tool NAME with ARGUMENTS, a JSON object, through policy, approval and audit."""
    try:
        given: object = json.loads(arguments)
    except ValueError as error:
        raise ConfigError(f"the arguments are not JSON: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError("the arguments must be a JSON object", hint="""'{"path": "a.txt"}'""")
    text, is_error = anyio.run(
        _call,
        settings,
        servers_file(settings, config_file),
        (name, cast("Mapping[str, JsonValue]", given)),
        approver,
        approval_timeout_s,
    )
    click.echo(visible(text, keep_newlines=True))
    raise click.exceptions.Exit(1 if is_error else 0)


async def _tools(settings: Settings, file: Path) -> list[dict[str, JsonValue]]:
    # Slow to import; not needed for --help.
    from luminaguard.gateway.configured import read_servers  # noqa: PLC0415
    from luminaguard.gateway.judged import judged_tools  # noqa: PLC0415
    from luminaguard.gateways import opened_gateway  # noqa: PLC0415

    async with opened_gateway(settings, read_servers(file), notice=say) as front:
        return await judged_tools(front.catalogue, front.gate.judging)


async def _call(
    settings: Settings,
    file: Path,
    wanted: tuple[str, Mapping[str, JsonValue]],
    approver: str,
    approval_timeout_s: float | None,
) -> tuple[str, bool]:
    from mcp.client.client import Client  # noqa: PLC0415

    from luminaguard.gateway.configured import read_servers  # noqa: PLC0415
    from luminaguard.gateways import opened_gateway  # noqa: PLC0415

    name, arguments = wanted
    async with (
        opened_gateway(
            settings,
            read_servers(file),
            approver=approver,
            approval_timeout_s=approval_timeout_s,
            notice=say,
        ) as front,
        Client(front.server()) as client,
    ):
        result = await client.call_tool(name, dict(arguments))
        blocks = [block.model_dump(mode="json", exclude_none=True) for block in result.content]
        texts = [str(one["text"]) if "text" in one else json.dumps(one) for one in blocks]
        return "\n".join(texts), bool(result.is_error)
