"""Between our conversation and the provider library's messages.

Every proposed call gets an id of our own: providers repeat theirs, and records must not. What the
provider sent goes back to it unchanged (`Message.native`), its own ids included.
"""

import secrets
from collections.abc import Sequence
from decimal import Decimal

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import ToolDefinition

from luminaguard.domain.calls import JsonValue, ToolCall, ToolSpec
from luminaguard.llm.model import Message, Reply, Role
from luminaguard.llm.usage import Usage

UNREADABLE = "unreadable_arguments"
"""Argument under which arguments stand that are no JSON object: no tool takes one of this name, so
the policy forbids the call, and the model is told why."""


def to_native(conversation: Sequence[Message]) -> list[ModelMessage]:
    """Return a conversation as the provider library takes it."""
    messages: list[ModelMessage] = []
    pending: list[ModelRequestPart] = []
    answers: dict[str, tuple[str, str]] = {}
    for message in conversation:
        if message.role is Role.ASSISTANT:
            if pending:
                messages.append(ModelRequest(parts=pending))
                pending = []
            response = _response(message)
            messages.append(response)
            answers |= _ids(message.calls, response)
        else:
            pending.append(_request_part(message, answers))
    if pending:
        messages.append(ModelRequest(parts=pending))
    return messages


def _request_part(message: Message, answers: dict[str, tuple[str, str]]) -> ModelRequestPart:
    if message.role is Role.SYSTEM:
        return SystemPromptPart(content=message.text)
    if message.role is Role.USER:
        return UserPromptPart(content=message.text)
    tool, native_id = answers[message.call_id]
    return ToolReturnPart(tool_name=tool, content=message.text, tool_call_id=native_id)


def _response(message: Message) -> ModelResponse:
    if message.native:
        (found,) = ModelMessagesTypeAdapter.validate_json(message.native)
        if isinstance(found, ModelResponse):
            return found
    parts: list[ModelResponsePart] = [TextPart(content=message.text)] if message.text else []
    parts += [
        ToolCallPart(tool_name=call.tool, args=dict(call.arguments), tool_call_id=call.call_id)
        for call in message.calls
    ]
    return ModelResponse(parts=parts)


def _ids(calls: Sequence[ToolCall], response: ModelResponse) -> dict[str, tuple[str, str]]:
    """Return our call id → the tool and the provider's id; calls keep their order."""
    native = [part for part in response.parts if isinstance(part, ToolCallPart)]
    return {
        call.call_id: (part.tool_name, part.tool_call_id)
        for call, part in zip(calls, native, strict=True)
    }


def to_reply(response: ModelResponse, *, is_local: bool) -> Reply:
    """Return a provider's answer as ours."""
    return Reply(
        text="".join(part.content for part in response.parts if isinstance(part, TextPart)),
        calls=tuple(_call(part) for part in response.parts if isinstance(part, ToolCallPart)),
        native=ModelMessagesTypeAdapter.dump_json([response]).decode(),
        usage=Usage(
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
            cost_usd=Decimal(0) if is_local else _cost_usd(response),
        ),
        model=response.model_name or "",
    )


def _call(part: ToolCallPart) -> ToolCall:
    try:
        arguments: dict[str, JsonValue] = part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        text = part.args if isinstance(part.args, str) else repr(part.args)
        arguments = {UNREADABLE: text[:1000]}
    return ToolCall(
        call_id=f"call-{secrets.token_hex(8)}", tool=part.tool_name, arguments=arguments
    )


def _cost_usd(response: ModelResponse) -> Decimal | None:
    """Return the price; None if this model's is not known, or if what was used is not.

    Source: genai-prices, the price list that comes with the library.
    """
    if not response.usage.has_values():
        return None
    try:
        return response.cost().total_price
    except (LookupError, ValueError, AssertionError):
        return None


def to_tools(tools: Sequence[ToolSpec]) -> list[ToolDefinition]:
    """Return our tools, schemas included, as the provider library takes them."""
    return [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
        )
        for tool in tools
    ]
