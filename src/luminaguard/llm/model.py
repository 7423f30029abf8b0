"""The one protocol behind which every model lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from luminaguard.domain.calls import ToolCall, ToolSpec


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of a conversation."""

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    """Calls that an assistant's message proposes."""
    call_id: str = ""
    """Which call a tool's message answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answers: text, and the calls that it proposes. No calls means: finished."""

    text: str
    calls: tuple[ToolCall, ...] = ()


class ChatModel(Protocol):
    """A model that proposes tool calls. It decides nothing about them."""

    @property
    def name(self) -> str:
        """As people and records see it, the provider included."""
        ...

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec]) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: no usable answer could be had.
        """
        ...
