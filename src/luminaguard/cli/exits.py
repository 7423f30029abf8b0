"""Exit codes, stable from the first release. Every other code is the guest command's own."""

from luminaguard.domain.outcome import Outcome, OutcomeKind

TIMED_OUT = 124
FAILED = 125
NOT_APPROVED = 126


def exit_code(outcome: Outcome) -> int:
    """Return the exit code that tells of an outcome."""
    if outcome.kind in {OutcomeKind.DISCARDED, OutcomeKind.DENIED}:
        return NOT_APPROVED
    if outcome.error_code == "timeout":
        return TIMED_OUT
    if outcome.kind in {OutcomeKind.FAILED, OutcomeKind.UNKNOWN} or outcome.report is None:
        return FAILED
    return outcome.report.exit_code
