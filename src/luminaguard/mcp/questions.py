"""Questions that a server puts before it answers a call, where it puts them in its result.

Source: MCP 2026-07-28, basic/patterns/mrtr.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import mcp_types as types
from mcp.client import ClientSession
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError

from luminaguard.errors import McpAnswerBroken

MOST_AT_ONCE = 20
STATE_ONLY_S = 0.25
"""Before a server that asked nothing, and only wants to be asked again, is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Answers to what a server asked, and what it wants back unchanged."""

    responses: types.InputResponses | None = None
    state: str | None = None


Ask = Callable[[Resume], Awaitable[types.CallToolResult | types.InputRequiredResult]]


async def with_answers(
    first: types.CallToolResult | types.InputRequiredResult,
    ask: Ask,
    session: ClientSession,
    rounds: int,
) -> types.CallToolResult:
    """Put a server's questions to the session's callbacks until it answers.

    Raises:
        McpAnswerBroken: it asks without end.
        MCPError: a question was declined.
    """
    found = first
    for _ in range(rounds):
        if isinstance(found, types.CallToolResult):
            return found
        found = await ask(await _answers(found, session))
    if isinstance(found, types.CallToolResult):
        return found
    raise McpAnswerBroken(f"the server asked {rounds} times, and did not answer")


async def _answers(asked: types.InputRequiredResult, session: ClientSession) -> Resume:
    questions = asked.input_requests or {}
    if len(questions) > MOST_AT_ONCE:
        raise McpAnswerBroken(f"the server asks {len(questions)} questions at once")
    if not questions:
        await anyio.sleep(STATE_ONLY_S)
        return Resume(state=asked.request_state)
    responses: types.InputResponses = {}
    for key, question in questions.items():
        meta = question.params.meta if question.params else None
        context = ClientRequestContext(session=session, request_id=key, meta=meta)
        response = await session.dispatch_input_request(context, question)
        if isinstance(response, types.ErrorData):
            raise MCPError.from_error_data(response)
        responses[key] = response
    return Resume(responses=responses, state=asked.request_state)
