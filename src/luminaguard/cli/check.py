"""`luminaguard check`: verdicts for calls as JSON Lines. Nothing runs."""

import json
from collections.abc import Mapping
from typing import cast

import click

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.policy.policy import CallContext, McpCall, Policy

_WORKSPACE = "/workspace"
"""Where the judged calls are taken to happen; nothing is looked up there."""


@click.command()
def check() -> None:
    """Judge calls: JSON Lines in, verdicts out, in order. Nothing runs.

    \b
    in   {"id": 1, "tool": "shell", "arguments": {"command": "ls -l"}}
         {"id": 2, "server": "mail", "tool": "send", "arguments": {…}}
    out  {"id": 1, "lane": "green", "risk": "low", "rules": […], "reasons": […]}

    A line that is not a call is answered with {"id": …, "error": …}. Relative paths are taken to
    be inside the workspace.
    """  # noqa: D301 - the escape is click's mark for "keep these lines"
    policy = Policy()
    with click.open_file("-", "rb") as lines:
        for line in lines:
            if line.strip():
                click.echo(json.dumps(_answer(line, policy)))


def _answer(line: bytes, policy: Policy) -> dict[str, JsonValue]:
    """Return the verdict on one line, or what is wrong with the line."""
    try:
        row: object = json.loads(line)
    except (ValueError, RecursionError) as problem:
        return {"id": None, "error": f"not JSON: {problem}"}
    if not isinstance(row, dict):
        return {"id": None, "error": "not an object"}
    fields = cast("dict[str, JsonValue]", row)
    identity = fields.get("id")
    try:
        verdict = _judge(fields, policy)
    except ValueError as problem:
        return {"id": identity, "error": str(problem)}
    return {"id": identity, **_as_json(verdict)}


def _judge(fields: Mapping[str, JsonValue], policy: Policy) -> Verdict:
    """Judge one row.

    Raises:
        ValueError: the row is not a call.
    """
    tool, arguments = fields.get("tool"), fields.get("arguments", {})
    if not isinstance(tool, str):
        raise ValueError("'tool' must be text")  # noqa: TRY004 - a bad line, not a bug
    if not isinstance(arguments, Mapping):
        raise ValueError("'arguments' must be an object")  # noqa: TRY004
    call = ToolCall(call_id="check", tool=tool, arguments=arguments)
    if "server" not in fields:
        return policy.judge(call, CallContext(workspace=_WORKSPACE))
    server = fields["server"]
    if not isinstance(server, str):
        raise ValueError("'server' must be text")  # noqa: TRY004
    return policy.judge_mcp(McpCall(server=server, call=call))


def _as_json(verdict: Verdict) -> dict[str, JsonValue]:
    return {
        "lane": verdict.lane.value,
        "risk": verdict.risk.value,
        "rules": list(verdict.rules),
        "reasons": list(verdict.reasons),
    }
