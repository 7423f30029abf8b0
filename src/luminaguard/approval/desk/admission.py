"""Who may say yes from another process, and how the record tells that they could."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from luminaguard.approval.desk.attempts import Attempts
from luminaguard.approval.desk.desk import Answer
from luminaguard.approval.desk.refusals import NotProven
from luminaguard.approval.desk.secret import Enrollment, statement
from luminaguard.domain.approval import End
from luminaguard.errors import ApprovalError

NO_PROOF_NEEDED = "none needed to reject"


@dataclass(slots=True, kw_only=True)
class Admission:
    """Decides which answers count as the user's. What is enrolled later does not count.

    (So a process that cannot approve cannot help itself by enrolling a secret of its own.)
    """

    enrollment: Enrollment | None
    unattended_by: str = ""
    """What lets anybody of this user approve: a variable's name or "configuration"; empty: not."""
    steady: Callable[[], float] = time.monotonic
    _attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        """Begin without wrong attempts."""
        self._attempts = Attempts(self.steady)

    def challenge(self, answer: Answer) -> str:
        """Return what must be signed along with this answer; empty when nothing must.

        Raises:
            NotProven: nobody can approve here, or too many wrong signatures came lately.
        """
        if answer.end is not End.APPROVED or self.unattended_by:
            return ""
        if self.enrollment is None:
            raise NotProven(
                "this session began without an approver secret: only rejecting is possible",
                hint="luminaguard approvals enroll, then run it again",
            )
        wait_s = self._attempts.wait_s()
        if wait_s > 0:
            raise NotProven(f"too many wrong secrets; try again in {wait_s:.0f} s")
        return secrets.token_hex(16)

    def proof(self, digest: str, answer: Answer, challenge: str, signature: bytes) -> str:
        """Return how this answer was proved, for the record.

        Args:
            digest: The request's.
            answer: What is answered.
            challenge: What `challenge` returned for this answer.
            signature: What came back; empty where nothing had to be signed.

        Raises:
            NotProven: the signature is not the approver's for this answer.
        """
        if not challenge:
            if answer.end is End.REJECTED:
                return NO_PROOF_NEEDED
            return f"none: unattended use is allowed by {self.unattended_by}"
        signed = statement(digest, answer, challenge)
        if self.enrollment is None or not self.enrollment.is_signed(signed, signature):
            self._attempts.wrong()
            raise NotProven("that was not signed with the approver secret")
        self._attempts.right()
        return (
            f"approver secret (key {self.enrollment.fingerprint}, challenge {challenge}, "
            f"signature {signature.hex()})"
        )


def admission(enrollment: Enrollment | None, *, unattended: str) -> Admission:
    """Return who may approve from other processes.

    Raises:
        ApprovalError: nobody could, so nothing could ever be approved.
    """
    if enrollment is None and not unattended:
        raise ApprovalError(
            "nobody could approve from another process: no approver secret is enrolled",
            hint="luminaguard approvals enroll (or, for unattended use, allow_unattended = true "
            "under [approval] in the configuration)",
        )
    return Admission(enrollment=enrollment, unattended_by=unattended)
