"""What a desk and a screen of another process say to each other, one question a connection.

    look    {seen, wait_s}                → {version, approver, open: [{digest, origin, …}]}
    card    {digest}                      → {bytes}, then the card as a frame of its own
    answer  {digest, end, reason, grant}  → {challenge} → {signature} → {decision}
                                            or at once {decision}, where nothing need be proved

Every reply may instead be {error: {code, message, hint}}.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from luminaguard.approval.codec.fields import Fields, Malformed
from luminaguard.approval.desk.desk import LONGEST_REASON, Answer
from luminaguard.approval.desk.refusals import (
    AnswerRefused,
    DeskLost,
    NotProven,
    RequestExpired,
    RequestSpent,
    RequestWithdrawn,
    UnknownRequest,
)
from luminaguard.domain.approval import Decision, End
from luminaguard.domain.calls import JsonValue
from luminaguard.errors import ApprovalError

MOST_OPEN = 10_000
LONGEST_LOOK_S = 25.0
"""How long a desk keeps a screen waiting for a change; the screen then asks again."""

_LONGEST_NAME = 200
_LONGEST_TEXT = 4_000
_ERRORS = {
    error.code: error
    for error in (
        AnswerRefused,
        NotProven,
        RequestExpired,
        RequestSpent,
        RequestWithdrawn,
        UnknownRequest,
        DeskLost,
    )
}


class Op(StrEnum):
    """What a screen can ask for."""

    LOOK = "look"
    CARD = "card"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLine:
    """An open request without its card."""

    digest: str
    origin: str
    opened_at: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields."""
        opened_at = self.opened_at.isoformat()
        return {"digest": self.digest, "origin": self.origin, "opened_at": opened_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is open on a desk."""

    version: int
    approver: str
    lines: tuple[OpenLine, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """Return all fields."""
        return {
            "version": self.version,
            "approver": self.approver,
            "open": [line.as_json() for line in self.lines],
        }


def answer_json(digest: str, answer: Answer) -> dict[str, JsonValue]:
    """Return an answer as a question to the desk."""
    return {
        "op": Op.ANSWER,
        "digest": digest,
        "end": answer.end.value,
        "reason": answer.reason,
        "grant": answer.grant,
    }


def answer_from(fields: Fields) -> Answer:
    """Read an answer.

    Raises:
        ApprovalError: it is none.
    """
    return Answer(
        end=fields.choice("end", End),
        reason=fields.text("reason", longest=LONGEST_REASON),
        grant=fields.text("grant", longest=_LONGEST_NAME),
    )


def look_from(fields: Fields) -> Look:
    """Read what is open."""
    return Look(
        version=fields.integer("version"),
        approver=fields.text("approver", longest=_LONGEST_NAME),
        lines=fields.items("open", _line, most=MOST_OPEN),
    )


def decision_json(decision: Decision) -> dict[str, JsonValue]:
    """Return a decision as a reply."""
    return {"decision": {**decision.as_json(), "request_digest": decision.request_digest}}


def decision_from(fields: Fields) -> Decision:
    """Read a decision."""
    decision = fields.below("decision")
    return Decision(
        end=decision.choice("end", End),
        request_digest=decision.digest("request_digest"),
        approver=decision.text("approver", longest=_LONGEST_NAME),
        reason=decision.text("reason", longest=_LONGEST_TEXT),
        at=decision.moment("at"),
        proof=decision.text("proof", longest=_LONGEST_TEXT),
        grant=decision.text("grant", longest=_LONGEST_NAME),
    )


def error_json(error: ApprovalError) -> Mapping[str, JsonValue]:
    """Return an error as a reply."""
    code = error.code if error.code in _ERRORS else AnswerRefused.code
    return {"error": {"code": code, "message": str(error)[:_LONGEST_TEXT], "hint": error.hint}}


def raise_error(fields: Fields) -> None:
    """Raise the error that a reply carries, if it carries one.

    Raises:
        ApprovalError: it does.
    """
    if not fields.has("error"):
        return
    error = fields.below("error")
    kind = _ERRORS.get(error.text("code", longest=_LONGEST_NAME))
    if kind is None:
        raise Malformed("the desk refuses for a reason that is unknown here")
    hint = error.optional_text("hint", longest=_LONGEST_TEXT)
    raise kind(error.text("message", longest=_LONGEST_TEXT), hint=hint)


def _line(fields: Fields) -> OpenLine:
    return OpenLine(
        digest=fields.digest("digest"),
        origin=fields.text("origin", longest=_LONGEST_TEXT),
        opened_at=fields.moment("opened_at"),
    )
