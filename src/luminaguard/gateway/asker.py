"""The client whose call is in progress, as the server behind may turn to it."""

from typing import Any, TypeVar

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

T = TypeVar("T", bound=types.Result)


class ClientAsker:
    """Passes questions and log lines on to the client of one request.

    Answers are data on their way to the server, so questions pass only where the call itself was
    approved: a call that went through as a read must not become more than that.
    """

    def __init__(self, context: ServerRequestContext[Any, Any], *, may_ask: bool) -> None:
        self._context = context
        self._may_ask = may_ask

    async def elicit(self, params: types.ElicitRequestParams) -> types.ElicitResult:
        """Ask the client's user.

        Raises:
            MCPError: it may not or cannot be asked.
        """
        return await self._ask(types.ElicitRequest(params=params), types.ElicitResult)

    async def sample(self, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        """Ask the client's model.

        Raises:
            MCPError: it may not or cannot be asked.
        """
        return await self._ask(types.CreateMessageRequest(params=params), types.CreateMessageResult)

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Pass on what the server logs."""
        await self._context.session.send_notification(
            types.LoggingMessageNotification(params=params),
            related_request_id=self._context.request_id,
        )

    async def _ask(self, request: types.ServerRequest, answer: type[T]) -> T:
        if not self._may_ask:
            raise MCPError(
                types.INVALID_REQUEST,
                "questions are passed on only during an approved call; this one was let through "
                "as a read",
            )
        metadata = ServerMessageMetadata(related_request_id=self._context.request_id)
        return await self._context.session.send_request(request, answer, metadata=metadata)
