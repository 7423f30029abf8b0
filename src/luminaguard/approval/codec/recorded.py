"""A card as the audit log remembers it: cut and redacted, to be looked at, not decided on."""

from dataclasses import dataclass, replace

from luminaguard.approval.card import DiffCard
from luminaguard.approval.codec import parts
from luminaguard.approval.codec.fields import Fields, Malformed
from luminaguard.approval.written import FORM
from luminaguard.domain.calls import JsonValue
from luminaguard.domain.diff import FileDiff
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.verdict import Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCard(DiffCard):
    """The card of a request that has ended, for screens that draw cards.

    What the log redacted is not what was asked about, so nothing here is held against the
    request's digests: those are of the unredacted whole.
    """

    lines_left_out: int = 0
    """Difference lines that the record does not have; each file's note counts its own."""
    names_left_out: int = 0
    """Of the paths that were never sent into the guest, those that the record does not name."""

    def __post_init__(self) -> None:
        """Accept what a redacted record holds."""
        object.__setattr__(self, "_diffs", {diff.path: diff for diff in self.diffs})


def card_from_record(card: JsonValue) -> RecordedCard:
    """Return the card in the body of an `approval.requested` record.

    Or of an `approval.decided` one, where a rule or a grant answered and nobody was asked.

    Raises:
        Malformed: it is not a recorded card, or of a version that did not keep enough.
    """
    fields = Fields(card, "card")
    if fields.integer("form", default=0) != FORM:
        raise Malformed("the record holds no card that this version can draw")
    measured = fields.below("measured")
    diffs = measured.items("diffs", _diff)
    names = fields.texts("left_out_names")
    return RecordedCard(
        request=parts.request(fields.below("request")),
        call=parts.call(fields.below("call")),
        verdict=parts.verdict(fields.below("verdict")),
        measured_risk=measured.choice("risk", Risk),
        isolation=parts.isolation(fields.below("isolation")),
        changeset=parts.changeset(measured.below("changeset"), measured.items("marks", parts.mark)),
        diffs=tuple(diff for diff, _ in diffs),
        report=_report(fields),
        host_changes=fields.texts("host_changes"),
        left_out=names,
        git=measured.texts("git"),
        predicted=fields.texts("predicted"),
        offers=fields.items("offers", parts.offer),
        prose=fields.text("prose"),
        lines_left_out=sum(left for _, left in diffs),
        names_left_out=max(0, fields.integer("left_out") - len(names)),
    )


def _diff(fields: Fields) -> tuple[FileDiff, int]:
    diff, left = parts.diff(fields), parts.lines_left_out(fields)
    if not left:
        return diff, 0
    lines = "1 further line is" if left == 1 else f"{left:,} further lines are"
    note = f"{diff.note}; " if diff.note else ""
    return replace(diff, note=f"{note}{lines} not in the record"), left


def _report(fields: Fields) -> GuestReport | None:
    if not fields.has("guest_says"):
        return None
    return parts.report(fields.below("guest_says"), _excerpt)


def _excerpt(output: Fields) -> tuple[bytes, int]:
    """Return what was kept of an output, and how many bytes there were beyond it."""
    kept = output.text("excerpt").encode("utf-8", "surrogateescape")
    missing = max(0, output.integer("bytes") - output.integer("excerpt_bytes"))
    return kept, missing + output.integer("dropped_bytes")
