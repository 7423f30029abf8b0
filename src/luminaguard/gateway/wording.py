"""What a client is told of a call that did not go through: which end, why, and what would."""

from luminaguard.domain.approval import End
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.domain.visible import visible

_NOT_SENT = "Nothing was sent to the server."


def told(outcome: Outcome) -> str:
    """Return the text of an outcome without a result."""
    if outcome.kind is OutcomeKind.DENIED:
        return _denied(outcome)
    if outcome.kind is OutcomeKind.UNKNOWN:
        return (
            f"outcome unknown: {_line(outcome.error)}. The call was sent, and may have had its "
            "effect: look before you call again."
        )
    decision = outcome.decision
    if outcome.kind is OutcomeKind.DISCARDED and decision is not None:
        reason = f": {_line(decision.reason)}" if decision.reason else ""
        if decision.end is End.EXPIRED:
            return f"not approved (expired){reason}. {_NOT_SENT} Call again to be asked again."
        return f"not approved ({decision.end}){reason}. {_NOT_SENT}"
    return f"failed: {_line(outcome.error)}."


def _denied(outcome: Outcome) -> str:
    verdict = outcome.verdict
    text = (
        f"forbidden by policy (rule {', '.join(verdict.rules)}): {'; '.join(verdict.reasons)}. "
        f"{_NOT_SENT}"
    )
    if verdict.instead:
        text += f" What would be allowed: {'; '.join(verdict.instead)}."
    return visible(text)


def _line(text: str) -> str:
    """One line, to be followed by a full stop."""
    return visible(text).rstrip(".")
