"""A card's parts as JSON: whole for another screen, or cut to what a record keeps.

Both forms have the same fields. Whatever a cut leaves out is counted beside it. Field names are
chosen so that the log, which leaves out the values of whatever is *named* like a secret, keeps
what a card says about secrets: paths, never contents.
"""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import Changeset
from luminaguard.domain.diff import FileDiff
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.verdict import Verdict
from luminaguard.domain.visible import visible_bytes

FORM = 1
"""Version of the fields; readers refuse others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How much a form keeps of what can be long."""

    lines: int
    """Difference lines, over all files."""
    output_bytes: int
    """Of stdout and of stderr each, from their beginnings, as visible text."""
    names: int
    """Paths that were left out of the guest."""


def verdict_json(verdict: Verdict) -> dict[str, JsonValue]:
    """Return all fields of a verdict."""
    return {
        "lane": verdict.lane.value,
        "risk": verdict.risk.value,
        "rules": list(verdict.rules),
        "reasons": list(verdict.reasons),
        "only_effect_unknown": verdict.only_effect_unknown,
        "changes": list(verdict.changes),
        "reaches": list(verdict.reaches),
        "private_reads": list(verdict.secrets),
        "instead": list(verdict.instead),
        "allowed_by": verdict.allowed_by,
    }


def marks_json(changeset: Changeset) -> list[JsonValue]:
    """Return each mark with its path and reason; the changeset's own form names it only."""
    return [
        {"path": change.path, "name": mark.name, "why": mark.why}
        for change in changeset.changes
        for mark in change.marks
    ]


def diffs_json(diffs: Iterable[FileDiff], cut: Cut | None) -> list[JsonValue]:
    """Return the differences; once the cut's lines are used up, the rest is counted."""
    room = cut.lines if cut else None
    found: list[JsonValue] = []
    for diff in diffs:
        found.append(_diff_json(diff, room))
        if room is not None:
            room = max(0, room - _length(diff))
    return found


def report_json(report: GuestReport | None, cut: Cut | None) -> JsonValue:
    """Return what the guest says of its run."""
    if report is None:
        return None
    return {
        "ended": report.ended.value,
        "exit_code": report.exit_code,
        "signal": report.signal,
        "stdout": _output_json(report.stdout, report.stdout_dropped_bytes, cut),
        "stderr": _output_json(report.stderr, report.stderr_dropped_bytes, cut),
        "leftover": list(report.leftover),
        "duration_s": report.duration_s,
    }


def names_json(names: tuple[str, ...], cut: Cut | None) -> list[JsonValue]:
    """Return names, of which the whole number is told elsewhere."""
    return list(names if cut is None else names[: cut.names])


def _length(diff: FileDiff) -> int:
    return sum(len(hunk.lines) for hunk in diff.hunks)


def _diff_json(diff: FileDiff, room: int | None) -> dict[str, JsonValue]:
    hunks: list[JsonValue] = []
    left_out = _length(diff)
    for hunk in diff.hunks:
        lines = hunk.lines[:room]
        if not lines and hunk.lines:
            break
        room = None if room is None else room - len(lines)
        left_out -= len(lines)
        hunks.append(
            {
                "old_start": hunk.old_start,
                "new_start": hunk.new_start,
                "lines": [kind.value + text for kind, text in lines],
            }
        )
    return {
        "path": diff.path,
        "body": diff.body.value,
        "added": diff.added,
        "removed": diff.removed,
        "note": diff.note,
        "hunks": hunks,
        "lines_left_out": left_out,
    }


def _output_json(output: bytes, dropped: int, cut: Cut | None) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {
        "bytes": len(output),
        "sha256": sha256(output).hexdigest(),
        "dropped_bytes": dropped,
    }
    if cut is None:
        return {**fields, "content": b64encode(output).decode()}
    kept = output[: cut.output_bytes]
    excerpt = visible_bytes(kept, keep_newlines=True)
    return {**fields, "excerpt": excerpt, "excerpt_bytes": len(kept)}
