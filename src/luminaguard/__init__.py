"""LuminaGuard: rehearse an agent's work in a disposable micro-VM, read its effect, approve, commit.

    import luminaguard

    async with luminaguard.Session("project") as session:
        outcome = await session.exec(["make", "test"])

Names are imported when they are first used: `import luminaguard` itself does nothing else.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminaguard.approval.approver import Approver
    from luminaguard.approval.card import DiffCard
    from luminaguard.domain.approval import ApprovalRequest, Decision, End
    from luminaguard.domain.calls import ToolCall
    from luminaguard.domain.changeset import Change, ChangeKind, Changeset
    from luminaguard.domain.outcome import Outcome, OutcomeKind
    from luminaguard.domain.verdict import Lane, Risk, Verdict
    from luminaguard.errors import LuminaGuardError
    from luminaguard.fleet import Fleet
    from luminaguard.runtime import Session
    from luminaguard.vm.pool.metrics import PoolMetrics
    from luminaguard.vm.pool.telling import get_pool_metrics

__all__ = [
    "ApprovalRequest",
    "Approver",
    "Change",
    "ChangeKind",
    "Changeset",
    "Decision",
    "DiffCard",
    "End",
    "Fleet",
    "Lane",
    "LuminaGuardError",
    "Outcome",
    "OutcomeKind",
    "PoolMetrics",
    "Risk",
    "Session",
    "ToolCall",
    "Verdict",
    "get_pool_metrics",
]

_HOMES = {
    "ApprovalRequest": "luminaguard.domain.approval",
    "Approver": "luminaguard.approval.approver",
    "Change": "luminaguard.domain.changeset",
    "ChangeKind": "luminaguard.domain.changeset",
    "Changeset": "luminaguard.domain.changeset",
    "Decision": "luminaguard.domain.approval",
    "DiffCard": "luminaguard.approval.card",
    "End": "luminaguard.domain.approval",
    "Fleet": "luminaguard.fleet",
    "Lane": "luminaguard.domain.verdict",
    "LuminaGuardError": "luminaguard.errors",
    "Outcome": "luminaguard.domain.outcome",
    "OutcomeKind": "luminaguard.domain.outcome",
    "PoolMetrics": "luminaguard.vm.pool.metrics",
    "Risk": "luminaguard.domain.verdict",
    "Session": "luminaguard.runtime",
    "ToolCall": "luminaguard.domain.calls",
    "Verdict": "luminaguard.domain.verdict",
    "get_pool_metrics": "luminaguard.vm.pool.telling",
}


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'luminaguard' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
