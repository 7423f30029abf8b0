"""The examples that a rule carries: checked whenever it is loaded, so it means what it says."""

from collections.abc import Mapping, Sequence
from typing import cast

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.errors import PolicyError
from luminaguard.policy.context import CallContext
from luminaguard.policy.findings import shown
from luminaguard.policy.rules.facts import Facts, facts_of
from luminaguard.policy.rules.match import Match, covers, match
from luminaguard.policy.rules.rule import Action, Rule

_CONTEXT = CallContext(workspace="/workspace")


def check_examples(
    rule: Rule, matching: Sequence[object], others: Sequence[object], where: str
) -> None:
    """Return only if the rule covers each of `matching` and none of `others`.

    Raises:
        PolicyError: it does not, or an example is not a call; names the example.
    """
    for example in matching:
        if not _is_covered(rule, _facts(rule, example, where)):
            raise PolicyError(
                f"{where} does not match its own example {_words(example)}",
                hint="correct the rule, or the example under match",
            )
    for example in others:
        if _is_covered(rule, _facts(rule, example, where)):
            raise PolicyError(
                f"{where} matches {_words(example)}, which it says it does not",
                hint="correct the rule, or the example under not_match",
            )


def _is_covered(rule: Rule, facts: Facts) -> bool:
    if rule.action is Action.ALLOW:
        return covers(rule, facts)
    return match(rule, facts) is not Match.NO


def _facts(rule: Rule, example: object, where: str) -> Facts:
    """An example is a command line, or for rules about paths only a path, or a whole call."""
    if isinstance(example, str):
        return facts_of(_call_of_text(rule, example, where), _CONTEXT)
    if not isinstance(example, dict):
        raise PolicyError(f"{where}: an example must be text or a table", hint=_TABLE)
    fields = cast("Mapping[str, object]", example)
    tool, server = fields.get("tool"), fields.get("server", "")
    arguments = fields.get("arguments", {})
    shape_fits = set(fields) <= {"tool", "server", "arguments"}
    if not (shape_fits and isinstance(tool, str) and isinstance(server, str)):
        raise PolicyError(f"{where}: the example {_words(fields)} is not a call", hint=_TABLE)
    if not isinstance(arguments, dict):
        raise PolicyError(f"{where}: an example's arguments must be a table", hint=_TABLE)
    call = ToolCall(
        call_id="example", tool=tool, arguments=cast("Mapping[str, JsonValue]", arguments)
    )
    return facts_of(call, _CONTEXT, server=server)


_TABLE = 'write { tool = "write_file", arguments = { path = "src/a.py" } }'


def _call_of_text(rule: Rule, text: str, where: str) -> ToolCall:
    if rule.paths and not rule.commands:
        return ToolCall(
            call_id="example", tool=_some(rule.tools, "write_file"), arguments={"path": text}
        )
    if rule.servers or rule.arguments or (rule.tools and not rule.commands):
        raise PolicyError(f"{where}: an example must name the call whole", hint=_TABLE)
    return ToolCall(call_id="example", tool="shell", arguments={"command": text})


def _some(names: tuple[str, ...], otherwise: str) -> str:
    """A rule's own tool if it names one without wildcards."""
    return next((name for name in names if not set(name) & set("*?")), otherwise)


def _words(example: object) -> str:
    return shown(example if isinstance(example, str) else repr(example))
