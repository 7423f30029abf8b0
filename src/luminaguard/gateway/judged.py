"""What each tool would be judged as, before anybody calls it."""

import mcp_types as types

from luminaguard.domain.calls import JsonValue
from luminaguard.gateway.asker import ClientAsker
from luminaguard.gateway.catalogue import Catalogue
from luminaguard.gateway.judging import McpJudging
from luminaguard.gateway.requests import tool_call


async def judged_tools(catalogue: Catalogue, judging: McpJudging) -> list[dict[str, JsonValue]]:
    """Return all tools, each with the verdict on a call without arguments. Nothing is called."""
    found: list[dict[str, JsonValue]] = []
    for tool in catalogue.tools():
        proposal = tool_call(
            catalogue,
            types.CallToolRequestParams(name=tool.name, arguments={}),
            asker=_nobody,
            on_progress=_nothing,
        )
        judged = await judging.judge(proposal)
        found.append(
            {
                "name": tool.name,
                "server": proposal.server,
                "trusted": judged.mcp.trusted,
                "lane": judged.verdict.lane.value,
                "risk": judged.verdict.risk.value,
                "rules": list(judged.verdict.rules),
                "reasons": list(judged.verdict.reasons),
                "definition": judged.definition.digest if judged.definition else None,
            }
        )
    return found


def _nobody(may_ask: bool) -> ClientAsker:  # noqa: FBT001 - the shape of MakeAsker
    del may_ask
    raise AssertionError("nothing is called here")


async def _nothing(progress: float, total: float | None, message: str | None) -> None:
    del progress, total, message
