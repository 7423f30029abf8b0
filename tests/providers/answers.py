"""What a provider's server is told to answer, whatever its protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole reply: text in pieces, then calls."""

    pieces: tuple[str, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    """Tool name and arguments as JSON text, sent as it stands, be it broken."""
    input_tokens: int = 100
    output_tokens: int = 20
    usage: bool = True


class Trouble(StrEnum):
    """What a provider refuses a request with; each protocol has its own words for it."""

    AUTH = "auth"
    NOT_FOUND = "not found"
    RATE = "rate limit"
    QUOTA = "quota"
    OVERLOAD = "overload"
    SERVER = "server error"
    CONTEXT = "context length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error status, with the protocol's body for it."""

    trouble: Trouble
    headers: Mapping[str, str] = field(default_factory=dict)
    echo: str = ""
    """Foreign text in the message, such as the key that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """The connection closes in the middle of the answer."""

    answer: Answer = Answer(pieces=("half an ", "answer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nothing comes until the event is set."""

    until: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """A good status with a body that is no answer."""

    body: bytes = b"data: {this is not JSON\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endless:
    """The same piece of text, for as long as somebody listens."""

    piece: str = "word " * 2000


Step = Answer | Refusal | CutOff | Silence | Garbage | Endless
