"""Judging a call to a tool of an MCP server by all that is known of it.

What such a tool does happens elsewhere and cannot be rehearsed. Only a pure read of a server that
the user trusts runs unasked: its name must be that of a read, and nothing in name, title,
description, schema, hints or arguments may speak against it. Evidence only ever adds up.
"""

from collections.abc import Iterator

from luminaguard.domain.verdict import Verdict
from luminaguard.policy.findings import Finding, pure_read, shown, verdict_of
from luminaguard.policy.mcp.anyquery import is_any_query, judge_statement
from luminaguard.policy.mcp.arguments import judge_arguments
from luminaguard.policy.mcp.call import McpCall, ToolDefinition
from luminaguard.policy.mcp.evidence import (
    SAYS_WRITES,
    UNPROVEN,
    UNREADABLE,
    Evidence,
    finding_on,
)
from luminaguard.policy.mcp.hints import Hints, hints_in
from luminaguard.policy.mcp.names import NameEvidence, Reading, judge_name, writes_in
from luminaguard.policy.mcp.prose import ProseEvidence, judge_prose
from luminaguard.policy.mcp.schema import judge_schema


def judge_mcp(mcp: McpCall) -> Verdict:
    """Return the verdict on a call to an MCP server's tool. Nothing runs."""
    return verdict_of(findings_on(mcp))


def findings_on(mcp: McpCall) -> list[Finding]:
    """Return what the rules say of a call, for a caller that adds findings of its own."""
    evidence = list(dict.fromkeys(_evidence(mcp))) or list(_unproven(mcp))
    if not mcp.trusted:
        evidence.append(_untrusted(mcp))
    if not evidence:
        return [pure_read(f"{shown(mcp.call.tool)} of the trusted server {shown(mcp.server)}")]
    return [finding_on(one, tool=mcp.call.tool, server=mcp.server) for one in evidence]


def _evidence(mcp: McpCall) -> Iterator[Evidence]:
    """Yield all that speaks against a call, the most telling first."""
    definition = mcp.definition or ToolDefinition(name=mcp.call.tool)
    name = judge_name(mcp.call.tool)
    prose = judge_prose(definition.description)
    hints = hints_in(definition.annotations)
    yield from name.against
    yield from prose.against
    yield from judge_schema(mcp.call.tool, definition.input_schema)
    if is_any_query(mcp.call.tool, definition.description):
        yield from judge_statement(mcp.call.tool, mcp.call.arguments)
    yield from judge_arguments(mcp.call.tool, mcp.call.arguments)
    yield from _of_hints(hints, definition)
    if definition.name != mcp.call.tool:
        why = f"the definition is of {shown(definition.name)}, not of {shown(mcp.call.tool)}"
        yield Evidence(means=UNREADABLE, deciding=definition.name, why=why)


def _untrusted(mcp: McpCall) -> Evidence:
    why = (
        f"what {shown(mcp.call.tool)} of server {shown(mcp.server)} does cannot be rehearsed, "
        "and you have not marked that server as trusted with this definition"
    )
    return Evidence(means=UNPROVEN, deciding=mcp.call.tool, why=why)


def _unproven(mcp: McpCall) -> Iterator[Evidence]:
    """Yield one where nothing speaks against a call, and nothing shows that it is a read."""
    definition = mcp.definition or ToolDefinition(name=mcp.call.tool)
    name = judge_name(mcp.call.tool)
    prose = judge_prose(definition.description)
    if not _is_shown_to_read(name, prose, hints_in(definition.annotations)):
        why = f"nothing shows that {shown(mcp.call.tool)} only reads, and it cannot be rehearsed"
        yield Evidence(means=UNPROVEN, deciding=mcp.call.tool, why=why)


def _is_shown_to_read(name: NameEvidence, prose: ProseEvidence, hints: Hints) -> bool:
    """Say whether a trusted server's tool is positively a read; what speaks against it aside."""
    if hints.says_read_only:
        if name.reading is Reading.STRONG:
            return True
        # Words that nobody listed are no reason to doubt a trusted server: verbs that write are.
        begins = prose.leads_with_read or prose.leads_with_noun
        return (name.reading is Reading.WEAK or name.is_open) and (begins and not prose.is_claiming)
    is_read = name.reading is Reading.STRONG or name.is_of_information
    begins = prose.leads_with_read or (name.reading is Reading.STRONG and prose.leads_with_noun)
    return is_read and begins and not prose.is_claiming


def _of_hints(hints: Hints, definition: ToolDefinition) -> Iterator[Evidence]:
    """Yield what the server itself says against its tool: that is always believed."""
    for hint in hints.against:
        why = f"its server says {shown(hint)}, so it may change something"
        yield Evidence(means=SAYS_WRITES, deciding=hint, why=why)
    title = definition.annotations.get("title")
    if isinstance(title, str) and (found := writes_in(title)):
        yield found
