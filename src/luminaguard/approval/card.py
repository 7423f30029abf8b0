"""The Diff Card: everything a human needs to decide on one call, as a value without widgets.

Built on the host from host-side facts. What was *measured* (the changeset), what can only be
*predicted* (effects that leave the machine) and what only the *guest says* (exit code, output,
processes) are separate fields and stay separate on every screen. A card that does not belong to
its request, or that cannot show a change's content, cannot be made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from luminaguard.approval.summary import Summary, summarize
from luminaguard.approval.written import (
    FORM,
    Cut,
    diffs_json,
    marks_json,
    names_json,
    report_json,
    verdict_json,
)
from luminaguard.domain.approval import ApprovalRequest
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Change, Changeset, Entry, EntryType, Mark
from luminaguard.domain.diff import Body, FileDiff
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.grant import GrantOffer
from luminaguard.domain.isolation import Isolation
from luminaguard.domain.verdict import Risk, Verdict, highest
from luminaguard.errors import ApprovalError

RECORDED_LINES = 2_000
"""Difference lines kept in a card's record; the rest is counted. Full bytes lie in the spool."""
RECORDED_OUTPUT_BYTES = 4_096
"""Bytes of stdout and of stderr kept in a card's record."""
RECORDED = Cut(lines=RECORDED_LINES, output_bytes=RECORDED_OUTPUT_BYTES, names=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffCard:
    """One question to a human, with all that was measured."""

    request: ApprovalRequest
    call: ToolCall
    verdict: Verdict
    measured_risk: Risk
    """Risk of the effect as measured on the host."""
    isolation: Isolation
    changeset: Changeset
    diffs: tuple[FileDiff, ...] = ()
    """One for each change of file content, in any order."""
    report: GuestReport | None = None
    """What only the guest says of the run."""
    host_changes: tuple[str, ...] = ()
    """Paths that changed on the user's side since the tree was imaged."""
    left_out: tuple[str, ...] = ()
    """Paths that were never sent into the guest: secrets, and what the ignore rules match."""
    git: tuple[str, ...] = ()
    """Lines on what happened to branches, tags and commits."""
    predicted: tuple[str, ...] = ()
    """Lines on effects that would leave the machine, which cannot be measured beforehand."""
    offers: tuple[GrantOffer, ...] = ()
    """Ways to remember a yes; none where nothing may be remembered."""
    prose: str = ""
    """What the model says about its call: untrusted, and shown as such."""
    _diffs: Mapping[str, FileDiff] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a card that is not the faithful card of its request.

        Raises:
            ApprovalError: the request asks about another call or changeset, or a change of
                content comes without its difference.
        """
        asked = (self.request.call_digest, self.request.changeset_digest, self.request.base)
        if asked != (self.call.digest, self.changeset.digest, self.changeset.base):
            raise ApprovalError("the card shows another call or changeset than the request names")
        object.__setattr__(self, "_diffs", {diff.path: diff for diff in self.diffs})
        unshown = [change.path for change in self.changeset.changes if self._is_unshown(change)]
        if unshown:
            raise ApprovalError(
                f"the card cannot show what changes in {len(unshown)} files", paths=unshown[:10]
            )

    def _is_unshown(self, change: Change) -> bool:
        before, after = (_content(entry) for entry in (change.before, change.after))
        if before == after:
            return False
        diff = self._diffs.get(change.path)
        if diff is None:
            return True
        says_nothing = diff.body in {Body.NONE, Body.TEXT} and not diff.hunks and not diff.note
        return says_nothing and bool(before[1] or after[1])

    @property
    def risk(self) -> Risk:
        """The higher of predicted and measured risk: for order and color only."""
        return highest(self.verdict.risk, self.measured_risk)

    @property
    def marks(self) -> tuple[tuple[str, Mark], ...]:
        """All reasons to look twice, each with the path it is about."""
        return tuple(
            (change.path, mark) for change in self.changeset.changes for mark in change.marks
        )

    @property
    def summary(self) -> Summary:
        """The changeset in numbers."""
        return summarize(self.changeset, self.diffs)

    def sections(self) -> Iterator[tuple[Change, FileDiff | None]]:
        """Yield each change with its difference, in the changeset's order."""
        for change in self.changeset.changes:
            yield change, self._diffs.get(change.path)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the card for a record, not yet redacted: `codec` draws it again.

        At most RECORDED_LINES difference lines are kept; what is left out is counted.
        """
        return self.fields(RECORDED)

    def fields(self, cut: Cut | None) -> dict[str, JsonValue]:
        """Return the card's fields, whole or cut."""
        return {
            "form": FORM,
            "request": self.request.as_json(),
            "call": {
                "call_id": self.call.call_id,
                "tool": self.call.tool,
                "arguments": dict(self.call.arguments),
            },
            "verdict": verdict_json(self.verdict),
            "risk": self.risk.value,
            "isolation": self.isolation.as_json(),
            "measured": {
                "risk": self.measured_risk.value,
                "summary": self.summary.as_json(),
                "changeset": self.changeset.as_json(),
                "marks": marks_json(self.changeset),
                "diffs": diffs_json(self.diffs, cut),
                "git": list(self.git),
            },
            "predicted": list(self.predicted),
            "offers": [offer.as_json() for offer in self.offers],
            "prose": self.prose,
            "guest_says": report_json(self.report, cut),
            "host_changes": list(self.host_changes),
            "left_out": len(self.left_out),
            "left_out_names": names_json(self.left_out, cut),
        }


def _content(entry: Entry | None) -> tuple[str | None, int]:
    """Digest and size of a file's bytes; nothing for anything that is no file."""
    if entry is None or entry.type is not EntryType.FILE:
        return None, 0
    return entry.sha256, entry.size
