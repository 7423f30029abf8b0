"""The values on a card, each read from its JSON fields. The reverse of `approval.written`."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from luminaguard.approval.codec.fields import Fields, Malformed
from luminaguard.domain.approval import ApprovalRequest
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import (
    Change,
    ChangeKind,
    Changeset,
    Entry,
    EntryType,
    Mark,
    Scratch,
)
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.domain.execution import Ended, GuestReport
from luminaguard.domain.grant import GrantOffer, GrantScope
from luminaguard.domain.isolation import GuestHardening, Isolation, Jail, Tier
from luminaguard.domain.verdict import Lane, Risk, Verdict

_LONGEST_NAME = 200
_LONGEST_PATH = 1 << 16
_SIGNS = {kind.value: kind for kind in LineKind}

PathMark = tuple[str, Mark]
"""A path and one mark on it."""
ReadOutput = Callable[[Fields], tuple[bytes, int]]
"""Reads a stream of the guest's: its bytes, and how many are not among them."""


def request(fields: Fields) -> ApprovalRequest:
    """Read a request; its digest covers every field."""
    return ApprovalRequest(
        nonce=fields.text("nonce", longest=_LONGEST_NAME),
        session_id=fields.text("session_id", longest=_LONGEST_NAME),
        workspace=fields.text("workspace", longest=_LONGEST_PATH),
        call_digest=fields.digest("call_digest"),
        changeset_digest=fields.digest("changeset_digest"),
        base=fields.text("base", longest=_LONGEST_NAME),
        policy_version=fields.text("policy_version", longest=_LONGEST_NAME),
        requested_at=fields.moment("requested_at"),
        expires_at=fields.moment("expires_at"),
        tool_definition=fields.optional_text("tool_definition", longest=_LONGEST_NAME),
        server=fields.optional_text("server", longest=_LONGEST_PATH),
    )


def call(fields: Fields) -> ToolCall:
    """Read a tool call."""
    return ToolCall(
        call_id=fields.text("call_id", longest=_LONGEST_NAME, default=""),
        tool=fields.text("tool", longest=_LONGEST_NAME),
        arguments=fields.mapping("arguments"),
    )


def verdict(fields: Fields) -> Verdict:
    """Read a verdict."""
    return Verdict(
        lane=fields.choice("lane", Lane),
        risk=fields.choice("risk", Risk),
        rules=fields.texts("rules"),
        reasons=fields.texts("reasons"),
        only_effect_unknown=fields.flag("only_effect_unknown", default=False),
        changes=fields.texts("changes", optional=True),
        reaches=fields.texts("reaches", optional=True),
        secrets=fields.texts("private_reads", optional=True),
        instead=fields.texts("instead", optional=True),
        allowed_by=fields.text("allowed_by", default=""),
    )


def isolation(fields: Fields) -> Isolation:
    """Read what isolation a run had."""
    jail, guest = fields.below("jail"), fields.below("guest")
    return Isolation(
        backend=fields.text("backend", longest=_LONGEST_NAME),
        tier=fields.choice("tier", Tier),
        accelerator=fields.text("accelerator", longest=_LONGEST_NAME),
        jail=Jail(layers=jail.texts("layers", most=100), missing=jail.words("missing")),
        guest=GuestHardening(
            profile=guest.text("profile", longest=_LONGEST_NAME),
            lsm=guest.text("lsm", longest=_LONGEST_NAME),
        ),
    )


def mark(fields: Fields) -> PathMark:
    """Read a mark and the path it is on."""
    found = Mark(name=fields.text("name", longest=_LONGEST_NAME), why=fields.text("why"))
    return fields.text("path", longest=_LONGEST_PATH), found


def changeset(fields: Fields, marks: Iterable[PathMark]) -> Changeset:
    """Read a changeset, and put the marks with their reasons on its changes.

    Raises:
        Malformed: the marks are others than those that the digest covers.
    """
    by_path: dict[str, list[Mark]] = {}
    for path, one in marks:
        by_path.setdefault(path, []).append(one)

    def marked(item: Fields) -> Change:
        found = _change(item)
        known = tuple(by_path.get(found.path, ()))
        if tuple(one.name for one in known) != item.texts("marks", optional=True):
            raise Malformed("a change has other marks than are explained")
        return replace(found, marks=known) if known else found

    scratch = fields.below("scratch")
    return Changeset(
        base=fields.text("base", longest=_LONGEST_NAME),
        changes=fields.items("changes", marked),
        scratch=Scratch(
            files=scratch.integer("files"),
            size_bytes=scratch.integer("bytes"),
            examples=scratch.texts("examples", most=1000),
        ),
        dropped=fields.texts("dropped"),
    )


def diff(fields: Fields) -> FileDiff:
    """Read the difference of one path, as much as there is of it."""
    return FileDiff(
        path=fields.text("path", longest=_LONGEST_PATH),
        body=fields.choice("body", Body),
        added=fields.integer("added"),
        removed=fields.integer("removed"),
        hunks=fields.items("hunks", _hunk),
        note=fields.text("note"),
    )


def lines_left_out(fields: Fields) -> int:
    """Read how many lines a difference has beyond those that are there."""
    return fields.integer("lines_left_out")


def report(fields: Fields, output: ReadOutput) -> GuestReport:
    """Read what the guest said of its run."""
    stdout, stdout_dropped = output(fields.below("stdout"))
    stderr, stderr_dropped = output(fields.below("stderr"))
    signal = fields.integer("signal", high=1000) if fields.has("signal") else None
    return GuestReport(
        ended=fields.choice("ended", Ended),
        exit_code=fields.integer("exit_code", low=-(2**31), high=2**32),
        signal=signal,
        stdout=stdout,
        stderr=stderr,
        stdout_dropped_bytes=stdout_dropped,
        stderr_dropped_bytes=stderr_dropped,
        leftover=fields.texts("leftover"),
        duration_s=fields.number("duration_s"),
    )


def offer(fields: Fields) -> GrantOffer:
    """Read an offer to remember a yes."""
    return GrantOffer(
        offer_id=fields.text("offer_id", longest=_LONGEST_NAME),
        scope=fields.choice("scope", GrantScope),
        covers=fields.text("covers"),
        also=fields.texts("also", most=1000),
    )


def _change(fields: Fields) -> Change:
    return Change(
        path=fields.text("path", longest=_LONGEST_PATH),
        kind=fields.choice("kind", ChangeKind),
        before=_entry(fields, "before"),
        after=_entry(fields, "after"),
    )


def _entry(fields: Fields, name: str) -> Entry | None:
    if not fields.has(name):
        return None
    entry = fields.below(name)
    kind = entry.choice("type", EntryType)
    is_file, is_link = kind is EntryType.FILE, kind is EntryType.SYMLINK
    return Entry(
        type=kind,
        mode=_mode(entry),
        size=entry.integer("size") if is_file else 0,
        sha256=entry.digest("sha256") if is_file else None,
        target=entry.text("target", longest=_LONGEST_PATH) if is_link else None,
    )


def _mode(fields: Fields) -> int:
    text = fields.text("mode", longest=4)
    if len(text) != 4 or text[0] != "0" or not set(text) <= set("01234567"):
        raise Malformed(f"{text!r} is no file mode")
    return int(text, 8)


def _hunk(fields: Fields) -> Hunk:
    return Hunk(
        old_start=fields.integer("old_start"),
        new_start=fields.integer("new_start"),
        lines=tuple(_line(line) for line in fields.texts("lines")),
    )


def _line(text: str) -> tuple[LineKind, str]:
    kind = _SIGNS.get(text[:1])
    if kind is None:
        raise Malformed("a line is neither added, removed nor context")
    return kind, text[1:]
