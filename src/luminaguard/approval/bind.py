"""What a yes is good for: checked again right before the effect.

That a yes is used only once is not known here: the audit log consumes the request's nonce in the
transaction that records the decision.
"""

from datetime import datetime

from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.errors import ApprovalError, ChangesetConflict


def still_binds(
    request: ApprovalRequest,
    decision: Decision,
    *,
    call_digest: str,
    changeset_digest: str,
    policy_version: str,
    now: datetime,
) -> None:
    """Return only if the decision approves exactly what is about to be done, at this moment.

    Args:
        request: What was asked.
        decision: What was answered.
        call_digest: Digest of the call as it stands now.
        changeset_digest: Digest of the measured bytes as they stand now.
        policy_version: Version of the policy in force now.
        now: The time, aware of its zone.

    Raises:
        ApprovalError: it is no approval, not of this request, or no longer in force.
        ChangesetConflict: the call, the measured effect or the policy is another by now.
    """
    if decision.end is not End.APPROVED:
        raise ApprovalError(f"the request was not approved but {decision.end.value}")
    if decision.request_digest != request.digest:
        raise ApprovalError("the approval answers another request")
    if not request.requested_at <= decision.at <= request.expires_at:
        raise ApprovalError("the approval was not given while the request was open")
    if now >= request.expires_at:
        raise ApprovalError("the approval has expired", hint="run the call again to be asked again")
    if call_digest != request.call_digest:
        raise ChangesetConflict("the call is not the one that was approved")
    if changeset_digest != request.changeset_digest:
        raise ChangesetConflict("the effect is not the one that was approved")
    if policy_version != request.policy_version:
        raise ChangesetConflict("the policy changed while the call was pending")
