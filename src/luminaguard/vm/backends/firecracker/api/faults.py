"""How a request to Firecracker fails: refused by it, or lost on the way."""

from typing import ClassVar

from luminaguard.errors import GuestLost, VmError

_SHOWN_CHARACTERS = 500


class ApiRefused(VmError):
    """Firecracker understood the request and did not do it."""

    code: ClassVar[str] = "firecracker-refused"

    def __init__(self, request: str, status: int, fault: str) -> None:
        """Keep what was asked, the HTTP status, and Firecracker's own reason."""
        self.status = status
        self.fault = printable(fault) or "it gave no reason"
        super().__init__(f"Firecracker refused {request}: {self.fault}", status=status)


class ApiLost(GuestLost):
    """Firecracker cannot be reached, gave no answer in time, or answered nonsense.

    What the request did is unknown, so the machine is to be ended.
    """

    code: ClassVar[str] = "firecracker-lost"


def printable(text: str) -> str:
    """Return a foreign program's words without anything that could steer a terminal."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_SHOWN_CHARACTERS]
