"""`luminaguard check`: verdicts as JSON Lines, or one explained to people. Nothing runs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import click

from luminaguard.cli.explain import explanation
from luminaguard.config import Settings
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.verdict import Lane, Verdict
from luminaguard.policy.mcp.call import mcp_call_from
from luminaguard.policy.policy import CallContext, Policy
from luminaguard.policy.rules.book import allowed_reason
from luminaguard.policy.rules.files import RuleFiles
from luminaguard.policy.source import PolicySource

_WORKSPACE = "/workspace"
"""Where the judged calls are taken to happen; nothing is looked up there."""


@click.command()
@click.option(
    "--policy",
    "rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Judge under the rules of this file.  [default: your own rules]",
)
@click.option("--explain", is_flag=True, help="Explain the verdict on CMD to people.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
@click.pass_obj
def check(
    settings: Settings | None, *, rules: Path | None, explain: bool, command: tuple[str, ...]
) -> None:
    """Judge calls: JSON Lines in, verdicts out, in order. Nothing runs.

    \b
    in   {"id": 1, "tool": "shell", "arguments": {"command": "ls -l"}}
         {"id": 2, "server": "mail", "trusted": true, "tool": "send",
          "description": "…", "annotations": {…}, "arguments": {…}}
    out  {"id": 1, "lane": "green", "risk": "low", "rules": […], "reasons": […]}

    Where there is something to say, "changes", "reaches", "secrets" and "instead" follow. A line
    that is not a call is answered with {"id": …, "error": …}. Relative paths are taken to be
    inside the workspace.

    \b
    luminaguard check --explain -- git push        a program with its arguments
    luminaguard check --explain -- 'ls | wc -l'    a line for the shell
    """  # noqa: D301 - the escape is click's mark for "keep these lines"
    if bool(command) != explain:
        raise click.UsageError("--explain and a command belong together: --explain -- CMD…")
    policy = _policy(settings, rules)
    if explain:
        call = _call(command)
        verdict = policy.judge(call, CallContext(workspace=_WORKSPACE))
        click.echo(
            explanation(" ".join(command), verdict, allowed_reason(verdict, policy.rulebook))
        )
        return
    with click.open_file("-", "rb") as lines:
        for line in lines:
            if line.strip():
                click.echo(json.dumps(_answer(line, policy)))


def verdict_json(verdict: Verdict) -> dict[str, JsonValue]:
    """Return the public JSON form; what a verdict says nothing of is left out."""
    more = {
        "changes": verdict.changes,
        "reaches": verdict.reaches,
        "secrets": verdict.secrets,
        "instead": verdict.instead,
    }
    return {
        "lane": verdict.lane.value,
        "risk": verdict.risk.value,
        "rules": list(verdict.rules),
        "reasons": list(verdict.reasons),
        **{name: list(words) for name, words in more.items() if words},
    }


def _policy(settings: Settings | None, rules: Path | None) -> Policy:
    user = rules.absolute() if rules else settings.rules_file if settings else None
    return PolicySource(files=RuleFiles(user=user)).opened()


def _call(command: tuple[str, ...]) -> ToolCall:
    """One word is a line for the shell, several are a program with its arguments."""
    if len(command) == 1:
        return ToolCall(call_id="check", tool="shell", arguments={"command": command[0]})
    return ToolCall(call_id="check", tool="exec", arguments={"argv": [*command]})


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
    return {"id": identity, **verdict_json(_as_decided(verdict, policy))}


def _as_decided(verdict: Verdict, policy: Policy) -> Verdict:
    """Show a call that a rule of the user's lets pass as what it is: it runs unasked."""
    if not verdict.allowed_by:
        return verdict
    return replace(
        verdict,
        lane=Lane.GREEN,
        rules=(verdict.allowed_by,),
        reasons=(allowed_reason(verdict, policy.rulebook),),
    )


def _judge(fields: Mapping[str, JsonValue], policy: Policy) -> Verdict:
    """Judge one row.

    Raises:
        ValueError: the row is not a call.
    """
    if "server" in fields:
        return policy.judge_mcp(mcp_call_from(fields))
    tool, arguments = fields.get("tool"), fields.get("arguments", {})
    if not isinstance(tool, str):
        raise ValueError("'tool' must be text")  # noqa: TRY004 - a bad line, not a bug
    if not isinstance(arguments, Mapping):
        raise ValueError("'arguments' must be an object")  # noqa: TRY004
    call = ToolCall(call_id="check", tool=tool, arguments=arguments)
    return policy.judge(call, CallContext(workspace=_WORKSPACE))
