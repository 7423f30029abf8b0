"""Why an answer was not taken. After each of these nothing has happened that was not asked for."""

from luminaguard.errors import ApprovalError, Retry


class AnswerRefused(ApprovalError):
    """The answer was not taken; the message says why."""

    code = "approval-refused"


class UnknownRequest(AnswerRefused):
    """The desk never had this request, or has forgotten it long after its end."""

    code = "approval-unknown"


class RequestSpent(AnswerRefused):
    """Somebody has decided it already: a request is decided once."""

    code = "approval-decided"


class RequestExpired(AnswerRefused):
    """Its time is up."""

    code = "approval-expired"


class RequestWithdrawn(AnswerRefused):
    """The session that asked has ended, or no longer wants to know."""

    code = "approval-withdrawn"


class NotProven(AnswerRefused):
    """Whoever answers did not prove to be the approver; the request stays open."""

    code = "approval-unproven"


class SecretWanted(NotProven):
    """This screen has not proved anything yet; with the secret the same answer can count."""

    code = "approval-secret-wanted"


class DeskLost(ApprovalError):
    """The process that asks cannot be reached, or broke off: whether it took an answer is unknown.

    The audit log says how the request ended.
    """

    code = "approval-desk-lost"
    retry = Retry.UNKNOWN
