"""A whole card as bytes and back, so that another process shows just what was measured.

What comes back is the card that was written, field for field, or nothing: the digests of call,
changeset and request are computed anew from what was read, and a card that does not belong to its
request cannot be made (see `DiffCard`). They cover what would be committed. Difference lines,
marks and risks are not under a digest: they are as true as the process that sent them.
"""

from base64 import b64decode

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec import parts
from luminaguard.approval.codec.fields import Fields, Malformed, parsed
from luminaguard.approval.written import FORM
from luminaguard.domain.calls import canonical_json
from luminaguard.domain.diff import FileDiff
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.verdict import Risk
from luminaguard.errors import ApprovalError

LONGEST_CARD_BYTES = 256 << 20


def card_to_wire(card: DiffCard) -> bytes:
    """Return a card as bytes, nothing left out.

    Raises:
        ApprovalError: it is longer than LONGEST_CARD_BYTES, or holds what JSON cannot.
    """
    try:
        content = canonical_json(card.fields(None))
    except (ValueError, RecursionError) as error:
        raise ApprovalError(f"the card cannot be sent to another process: {error}") from error
    if len(content) > LONGEST_CARD_BYTES:
        raise ApprovalError(
            f"the card has {len(content):,} bytes, too many for another process",
            hint="decide on it where it was asked: --approver tty or tui",
        )
    return content


def card_from_wire(content: bytes) -> DiffCard:
    """Return the card that was written, every field checked.

    Raises:
        Malformed: it is not a card.
        ApprovalError: the card does not belong to its request.
    """
    fields = Fields(parsed(content, longest_bytes=LONGEST_CARD_BYTES), "card")
    if fields.integer("form") != FORM:
        raise Malformed(
            "the card is of another version of LuminaGuard",
            hint="use the version that the asking process runs",
        )
    measured = fields.below("measured")
    diffs = measured.items("diffs", _whole_diff)
    left_out = fields.texts("left_out_names")
    if len({diff.path for diff in diffs}) != len(diffs) or fields.integer("left_out") != len(
        left_out
    ):
        raise Malformed("the card contradicts itself")
    return DiffCard(
        request=parts.request(fields.below("request")),
        call=parts.call(fields.below("call")),
        verdict=parts.verdict(fields.below("verdict")),
        measured_risk=measured.choice("risk", Risk),
        isolation=parts.isolation(fields.below("isolation")),
        changeset=parts.changeset(measured.below("changeset"), measured.items("marks", parts.mark)),
        diffs=diffs,
        report=_report(fields),
        host_changes=fields.texts("host_changes"),
        left_out=left_out,
        git=measured.texts("git"),
        predicted=fields.texts("predicted"),
        offers=fields.items("offers", parts.offer, most=100),
        prose=fields.text("prose"),
    )


def _whole_diff(fields: Fields) -> FileDiff:
    if parts.lines_left_out(fields):
        raise Malformed("the card is cut")
    return parts.diff(fields)


def _report(fields: Fields) -> GuestReport | None:
    if not fields.has("guest_says"):
        return None
    return parts.report(fields.below("guest_says"), _content)


def _content(output: Fields) -> tuple[bytes, int]:
    try:
        content = b64decode(output.text("content"), validate=True)
    except ValueError as error:
        raise Malformed("the guest's output is not base64") from error
    if len(content) != output.integer("bytes"):
        raise Malformed("the guest's output has another length than it says")
    return content, output.integer("dropped_bytes")
