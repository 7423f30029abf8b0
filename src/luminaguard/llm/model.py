"""The one protocol behind which every model lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from luminaguard.domain.calls import ToolCall, ToolSpec
from luminaguard.llm.usage import Usage


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
    native: str = ""
    """An assistant's message as its provider sent it, for the provider alone: signed thoughts and
    the like, which it wants back unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answers: text, and the calls that it proposes. No calls means: finished."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    native: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """Which model it really was, as the provider says."""

    @property
    def message(self) -> Message:
        """The reply as an entry of the conversation."""
        return Message(role=Role.ASSISTANT, text=self.text, calls=self.calls, native=self.native)


OnText = Callable[[str], None]
"""Takes the answer's text piece by piece while it arrives."""


class ChatModel(Protocol):
    """A model that proposes tool calls. It decides nothing about them."""

    @property
    def name(self) -> str:
        """As people and records see it, the provider included."""
        ...

    def price(self, usage: Usage) -> Decimal | None:
        """Return what so many tokens would cost, in US dollars; None if that is unknown."""
        ...

    async def reply(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], on_text: OnText
    ) -> Reply:
        """Answer a conversation. Can be cancelled at any moment.

        Raises:
            ModelError: no usable answer could be had.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. A closed model is not asked again."""
        ...
