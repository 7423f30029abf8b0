"""What host and guest say to each other: one frozen dataclass per message.

Constructing a message checks it, so what was decoded is within its bounds.
"""

from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

from luminaguard_guest.fields import require

VERSION = 1
"""Both ends must speak the same one: `Hello` and `Welcome` compare it."""

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Largest body. A Linux command line ends at 2 MiB with the usual 8 MiB stack limit.
Source: execve(2), "Limits on size of arguments and environment"."""

STDIN_WINDOW_BYTES = 256 * 1024
"""Standard input that may be on its way, not yet taken by the command."""

CHUNK_BYTES = 64 * 1024
"""Most bytes that one message of output, input or file content carries."""

_I64_MAX = 2**63 - 1


class Message(Protocol):
    """A frozen dataclass whose fields are all of the kinds that the wire can carry."""

    TYPE: ClassVar[int]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


# From the host ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """Are you there, and which version do you speak? Answered by `Welcome`."""

    TYPE: ClassVar[int] = 1
    version: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered by `Done`."""

    TYPE: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Reseed:
    """Fresh randomness for the kernel, and the time. Answered by `Done`."""

    TYPE: ClassVar[int] = 3
    entropy: bytes
    wall_clock_ns: int


@dataclass(frozen=True, slots=True)
class Mount:
    """Put the workspace together at `path` from the image in the workspace disk."""

    TYPE: ClassVar[int] = 4
    path: bytes
    filesystem: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Run `argv`, or `code` in the resident interpreter. Answered by `Output` … `Finished`."""

    TYPE: ClassVar[int] = 5
    argv: tuple[bytes, ...]
    code: bytes | None
    cwd: bytes
    env: tuple[bytes, ...]
    """Each `NAME=value`."""
    timeout_ms: int
    has_stdin: bool
    """`Stdin` messages follow; otherwise the command reads from /dev/null."""

    def __post_init__(self) -> None:
        """Refuse what no command can be."""
        require((self.code is None) == bool(self.argv), "either argv or code, and only one")
        require(self.timeout_ms > 0, "a time limit must be positive")
        require(all(b"=" in pair[1:] for pair in self.env), "an environment entry has no name")


@dataclass(frozen=True, slots=True)
class Stdin:
    """Standard input for a running `Execute`, which has the same request id."""

    TYPE: ClassVar[int] = 6
    content: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """End the `Execute` of the same request id; it still answers `Finished`."""

    TYPE: ClassVar[int] = 7


@dataclass(frozen=True, slots=True)
class Harvest:
    """Stream the overlay's upper layer: records, then `HarvestEnd`."""

    TYPE: ClassVar[int] = 8
    skip: tuple[bytes, ...]
    """Directories whose files are listed without their bytes."""


@dataclass(frozen=True, slots=True)
class Unmount:
    """Take the workspace apart: what was mounted is gone, another can be. Answered by `Done`."""

    TYPE: ClassVar[int] = 9


# From the guest -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent is up and can run commands."""

    TYPE: ClassVar[int] = 65
    version: int
    nonce: bytes
    python: str
    kernel: str


@dataclass(frozen=True, slots=True)
class Done:
    """The request was carried out."""

    TYPE: ClassVar[int] = 66


@dataclass(frozen=True, slots=True)
class Failed:
    """The request was not carried out; why."""

    TYPE: ClassVar[int] = 67
    reason: str


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the command wrote: stream 1 or 2."""

    TYPE: ClassVar[int] = 68
    stream: int
    content: bytes

    def __post_init__(self) -> None:
        """Refuse streams that do not exist."""
        require(self.stream in {1, 2}, "no such output stream")


@dataclass(frozen=True, slots=True)
class StdinTaken:
    """So many more bytes of standard input may be sent."""

    TYPE: ClassVar[int] = 69
    count: int

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        require(0 < self.count <= STDIN_WINDOW_BYTES, "impossible count of input bytes")


ENDINGS = ("exited", "signaled", "timed-out", "not-started")


@dataclass(frozen=True, slots=True)
class Finished:
    """The command and everything that it left behind are gone."""

    TYPE: ClassVar[int] = 70
    ended: str
    exit_code: int
    signal: int
    """0 unless a signal ended the command."""
    leftover: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse endings that no process can have."""
        require(self.ended in ENDINGS, "no such ending")
        require(0 <= self.exit_code <= 255, "impossible exit code")
        require(0 <= self.signal <= 64, "impossible signal")
        require((self.ended == "signaled") == bool(self.signal), "ending and signal disagree")


@dataclass(frozen=True, slots=True)
class UpperDirectory:
    """See `luminaguard.domain.harvest`, as for the records below."""

    TYPE: ClassVar[int] = 80
    path: bytes
    mode: int
    opaque: bool
    redirect: bytes | None

    def __post_init__(self) -> None:
        """Refuse impossible modes."""
        require(0 <= self.mode <= 0o7777, "impossible mode")


@dataclass(frozen=True, slots=True)
class UpperFile:
    """A regular file; its bytes follow."""

    TYPE: ClassVar[int] = 81
    path: bytes
    mode: int
    size: int
    mtime_ns: int

    def __post_init__(self) -> None:
        """Refuse impossible modes and sizes."""
        require(0 <= self.mode <= 0o7777, "impossible mode")
        require(self.size >= 0, "negative size")


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A run of bytes of the file announced last."""

    TYPE: ClassVar[int] = 82
    offset: int
    content: bytes

    def __post_init__(self) -> None:
        """Refuse impossible places."""
        require(0 <= self.offset <= _I64_MAX - len(self.content), "impossible offset")


@dataclass(frozen=True, slots=True)
class UpperSymlink:
    """A symbolic link."""

    TYPE: ClassVar[int] = 83
    path: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Whiteout:
    """A deletion."""

    TYPE: ClassVar[int] = 84
    path: bytes


SPECIALS = ("socket", "fifo", "char", "block")


@dataclass(frozen=True, slots=True)
class UpperSpecial:
    """A socket, FIFO or device node."""

    TYPE: ClassVar[int] = 85
    path: bytes
    kind: str

    def __post_init__(self) -> None:
        """Refuse kinds that do not exist."""
        require(self.kind in SPECIALS, "no such kind of file")


@dataclass(frozen=True, slots=True)
class HarvestEnd:
    """All records were sent, and how many: a stream that was cut cannot look whole."""

    TYPE: ClassVar[int] = 86
    records: int
