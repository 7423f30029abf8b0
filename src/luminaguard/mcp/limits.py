"""What a server may take of the client's time and memory."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for one connection. Times in seconds."""

    connect_s: float = 30.0
    """To start the server, or reach it, and agree on a protocol."""
    list_s: float = 30.0
    """For one whole listing, all its pages."""
    call_s: float = 300.0
    """For one call, questions of the server included."""
    idle_s: float = 120.0
    """Longest silence within a call; progress ends it."""
    close_s: float = 5.0
    answer_bytes: int = 16 * MIB
    """One message, or all that is sent in answer to one request."""
    heard_bytes_per_s: int = MIB
    """What a server may send unasked, on average; `answer_bytes` at once."""
    pages: int = 200
    items: int = 10_000
    """Entries of one listing."""
    stderr_bytes: int = 64 * 1024
    """Kept of what a process says beside the protocol: the end of it."""
    questions: int = 10
    """Rounds of questions that a server may put before it answers one call."""
