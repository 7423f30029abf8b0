"""Running a command in a guest: what is asked for, and what the guest says came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A command to run as the guest's ordinary user, in its own cgroup and pid namespace.

    With `python` set, `argv` is empty and the code runs in a fork of the resident interpreter.
    """

    argv: tuple[str, ...] = ()
    python: str | None = None
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the guest's own minimal environment; never the host's."""
    stdin: bytes = b""
    timeout_s: float = 600.0
    output_limit_bytes: int = 8 * 1024 * 1024
    """Kept of stdout and stderr each; what comes beyond is counted, not kept."""


class Ended(StrEnum):
    """How a guest command came to its end."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed-out"
    NOT_STARTED = "not-started"
    """The program could not be started (missing, not executable): exit code 127 or 126."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestReport:
    """What only the guest says of a command: shown as such, never decided on (G5, G9)."""

    ended: Ended
    exit_code: int
    """The command's own; 128 + signal when signaled; 124 when timed out."""
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_dropped_bytes: int = 0
    stderr_dropped_bytes: int = 0
    leftover: tuple[str, ...] = ()
    """Names of processes that the command left behind; they were killed before the harvest."""
    duration_s: float = 0.0
    """Measured on the host, from request to answer."""
