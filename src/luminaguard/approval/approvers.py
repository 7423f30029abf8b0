"""Approvers that ask nobody: "deny" says no, "all" says yes where the user allowed just that."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from luminaguard.approval.card import DiffCard
from luminaguard.approval.summary import summary_line
from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError

UNATTENDED_VARIABLE = "LUMINAGUARD_ALLOW_UNATTENDED"
UNATTENDED_ENTRY = "configuration"
PROVEN_AT_START = "approver secret"

_HOW_TO_BE_ASKED = "run it on a terminal with --approver tty to be asked"


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def warn(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyApprover:
    """Says no to everything: for runs in which nobody can be asked."""

    now: Callable[[], datetime] = utc_now

    @property
    def name(self) -> str:
        """Name in the record."""
        return "deny"

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Reject, and say how to be asked."""
        del card
        return Decision(
            end=End.REJECTED,
            request_digest=request.digest,
            approver=self.name,
            reason=f"nobody is asked with approver deny; {_HOW_TO_BE_ASKED}",
            at=self.now(),
            proof="none needed to reject",
        )


@dataclass(slots=True, kw_only=True)
class AllApprover:
    """Says yes to everything, loudly. Made by `all_approver`, which asks for the permission."""

    allowed_by: str
    """What gave the permission: the variable's name, "configuration", or "approver secret"."""
    now: Callable[[], datetime] = utc_now
    warn: Callable[[str], None] = warn
    _warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Refuse to exist without a permission.

        Raises:
            ApprovalError: `allowed_by` names none of the ways to give it.
        """
        if self.allowed_by not in {UNATTENDED_VARIABLE, UNATTENDED_ENTRY, PROVEN_AT_START}:
            raise _not_allowed()

    @property
    def name(self) -> str:
        """Name in the record."""
        return "all"

    async def decide(self, request: ApprovalRequest, card: DiffCard) -> Decision:
        """Approve, after a warning that nobody looks."""
        if not self._warned:
            self.warn(
                "luminaguard: WARNING: approver 'all' commits every measured effect, "
                f"no human looks (allowed by {self.allowed_by})"
            )
            self._warned = True
        self.warn(
            f"luminaguard: approved unseen [{card.risk.value}]: {summary_line(card.changeset)}"
        )
        return Decision(
            end=End.APPROVED,
            request_digest=request.digest,
            approver=self.name,
            reason="unattended: no human looked",
            at=self.now(),
            proof=f"unattended use allowed by {self.allowed_by}",
        )


def unattended_by(environ: Mapping[str, str], *, config_entry: bool) -> str:
    """Return what allows approving without a human: a variable's name, "configuration", or ""."""
    if environ.get(UNATTENDED_VARIABLE) == "1":
        return UNATTENDED_VARIABLE
    return UNATTENDED_ENTRY if config_entry else ""


def all_approver(
    environ: Mapping[str, str],
    *,
    config_entry: bool,
    knows_secret: Callable[[], bool] = lambda: False,
) -> AllApprover:
    """Return the approver that approves everything, where the user allowed unattended use.

    Args:
        environ: May hold the variable that allows it.
        config_entry: The configuration allows it.
        knows_secret: Asked last; returns whether the approver secret was typed.

    Raises:
        ApprovalError: nothing allows it.
    """
    allowed_by = unattended_by(environ, config_entry=config_entry)
    if not allowed_by and knows_secret():
        allowed_by = PROVEN_AT_START
    return AllApprover(allowed_by=allowed_by)


def _not_allowed() -> ApprovalError:
    return ApprovalError(
        "approver 'all' commits everything without a human, and nothing allows that here",
        hint=f"set {UNATTENDED_VARIABLE}=1, or allow_unattended = true under [approval] in the "
        f"configuration, or enroll an approver secret; or {_HOW_TO_BE_ASKED}",
    )
