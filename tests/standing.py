"""What the tests of rules and grants share: a program to allow, and answers that grant."""

from collections.abc import Callable
from pathlib import Path

from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.testing.hypervisor import FakeGuest, exited
from world import World

PROJECT_FILE = "luminaguard-policy.toml"

ALLOW_RESTYLE = """
[[allow]]
name = "restyle"
reason = "the formatter is ours"
command = "restyle *"
path = "src/**"
kinds = ["modify"]
max_changes = 3
"""


def rules(world: World, text: str) -> Path:
    """Write the user's rules, and return the file."""
    path = world.root / "config" / "policy.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def writing(path: str, content: bytes) -> Callable[[FakeGuest], None]:
    """Return what writes a file in a guest."""
    return lambda guest: guest.upper.write(path, content)


def restyle(world: World, text: str = "tidy") -> None:
    """Let the guest have `restyle FILE [TEXT]`, which writes a text into a file."""

    def run(guest: FakeGuest, execution: Execution) -> GuestReport:
        _, path, *given = execution.argv
        guest.upper.write(path, "".join(given or [text]).encode())
        return exited(0, stdout=b"restyled\n")

    world.hypervisor.programs["restyle"] = run


def granting(offer: str) -> Callable[[ApprovalRequest, DiffCard], Decision]:
    """Answer with a yes that takes an offer; empty: just for once."""

    def answer(request: ApprovalRequest, card: DiffCard) -> Decision:
        del card
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver="fixed",
            reason="",
            at=request.requested_at,
            proof="a script",
            grant=offer,
        )

    return answer
