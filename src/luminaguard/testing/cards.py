"""Diff Cards for tests and demonstrations, made from plain texts."""

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from luminaguard.approval.card import DiffCard
from luminaguard.domain.approval import ApprovalRequest
from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Entry, EntryType
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.domain.execution import GuestReport
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.domain.verdict import Lane, Risk, Verdict

Texts = Mapping[str, tuple[str | None, str | None]]
"""Path → text before and after; None where there is no such file."""

_ISOLATION = Isolation(
    backend="fake",
    tier=Tier.EMULATED,
    accelerator="none",
    jail=Jail(layers=("seccomp",), missing={"cgroup-limits": "a fake has none"}),
    guest=GuestHardening(profile="strict", lsm="apparmor"),
)


def file_entry(content: bytes, mode: int = 0o644) -> Entry:
    """Return the entry of a file with this content."""
    digest = sha256(content).hexdigest()
    return Entry(type=EntryType.FILE, mode=mode, size=len(content), sha256=digest)


def text_change(path: str, before: str | None, after: str | None) -> Change:
    """Return the change of a text file."""
    kind = ChangeKind.MODIFY
    if before is None:
        kind = ChangeKind.CREATE
    elif after is None:
        kind = ChangeKind.DELETE
    old, new = (
        None if text is None else file_entry(text.encode("utf-8", "surrogatepass"))
        for text in (before, after)
    )
    return Change(path=path, kind=kind, before=old, after=new)


def text_diff(path: str, before: str | None, after: str | None) -> FileDiff:
    """Return the difference of a text file, in one hunk with all of its context."""
    signs = {"  ": LineKind.CONTEXT, "+ ": LineKind.ADDED, "- ": LineKind.REMOVED}
    old, new = (text.split("\n") if text else [] for text in (before, after))
    compared = difflib.ndiff(old, new)
    lines = tuple((signs[line[:2]], line[2:]) for line in compared if line[:2] in signs)
    return FileDiff(
        path=path,
        body=Body.TEXT,
        added=sum(kind is LineKind.ADDED for kind, _ in lines),
        removed=sum(kind is LineKind.REMOVED for kind, _ in lines),
        hunks=(Hunk(1, 1, lines),),
    )


def text_card(
    texts: Texts,
    *,
    risk: Risk = Risk.MEDIUM,
    tool: str = "shell",
    arguments: Mapping[str, JsonValue] | None = None,
    report: GuestReport | None = None,
    open_for: timedelta = timedelta(seconds=300),
) -> DiffCard:
    """Return a card on which text files change."""
    changes = tuple(text_change(path, *texts[path]) for path in sorted(texts))
    return card_of(
        Changeset(base="0" * 64, changes=changes),
        tuple(text_diff(path, *texts[path]) for path in sorted(texts)),
        call=ToolCall(
            call_id="call-1", tool=tool, arguments=arguments or {"command": "make release"}
        ),
        risk=risk,
        report=report,
        open_for=open_for,
    )


def card_of(
    changeset: Changeset,
    diffs: tuple[FileDiff, ...],
    *,
    call: ToolCall,
    risk: Risk = Risk.MEDIUM,
    report: GuestReport | None = None,
    open_for: timedelta = timedelta(seconds=300),
) -> DiffCard:
    """Return a card for a changeset, with a request that was made just now."""
    now = datetime.now(UTC)
    request = ApprovalRequest(
        nonce=sha256(changeset.digest.encode()).hexdigest()[:32],
        session_id="session-1",
        workspace="/home/ann/shop",
        call_digest=call.digest,
        changeset_digest=changeset.digest,
        base=changeset.base,
        policy_version="policy-1",
        requested_at=now,
        expires_at=now + open_for,
    )
    return DiffCard(
        request=request,
        call=call,
        verdict=Verdict(
            lane=Lane.RED, risk=Risk.LOW, rules=("effect-unknown",), reasons=("effect unknown",)
        ),
        measured_risk=risk,
        isolation=_ISOLATION,
        changeset=changeset,
        diffs=diffs,
        report=report,
    )
