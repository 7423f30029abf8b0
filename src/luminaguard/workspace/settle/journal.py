"""The journal of one commit: what it was about to do, and how far it came.

One file in the state directory. Its first line, the plan, is complete and durable before anything
in the workspace is touched; each later line is a mark, appended and made durable. Every line
carries its own digest: a line that a crash cut off does not count as written.

    (plan)      new content is being staged; the tree is untouched
    applying    steps may have been done, in any subset that a power loss left
    committed   every step is done and durable; only cleaning up is left
    undone      every step is taken back and durable; only cleaning up is left
    settled     recovery did what it could; what is left is for the user to judge
"""

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import cast

from luminaguard.domain.changeset import Entry, EntryType
from luminaguard.errors import RecoveryNeeded
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.inspect import BLOCK_BYTES, opened
from luminaguard.workspace.settle.plan import RESERVED, Action, Step

STAGE_PREFIX = f"{RESERVED}-stage-"

_NAME = "journal"
_INCOMING = "journal.new"
_FORMAT = 1


class Mark(StrEnum):
    """How far a commit came."""

    APPLYING = "applying"
    COMMITTED = "committed"
    UNDONE = "undone"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that recovery needs to know about a commit."""

    nonce: str
    changeset: str
    """Digest of the changeset."""
    workspace: str
    """Path of the root, for people."""
    steps: tuple[Step, ...]

    @property
    def stage(self) -> str:
        """Name of the staging directory in the root."""
        return STAGE_PREFIX + self.nonce


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled:
    """A journal as it was found."""

    plan: Plan
    mark: Mark | None
    """The last mark; None while staging."""
    report: Mapping[str, object]
    """What recovery wrote beside the mark `settled`; empty otherwise."""
    size: int
    """Bytes up to the end of the last whole line."""


class Journal:
    """An open journal that marks are appended to."""

    def __init__(self, ops: FileOps, store_fd: int, fd: int, size: int) -> None:
        self._ops = ops
        self._store_fd = store_fd
        self._fd = fd
        self._size = size

    @classmethod
    def begin(cls, ops: FileOps, store_fd: int, plan: Plan) -> "Journal":
        """Write the plan and make it durable, under its name.

        Raises:
            OSError: it could not be written; nothing is left under the journal's name.
        """
        _forget(ops, store_fd, _INCOMING)
        fd = ops.create(store_fd, _INCOMING)
        try:
            line = _line(_plan_json(plan))
            ops.write(fd, 0, line)
            ops.fsync(fd)
            ops.move(store_fd, _INCOMING, store_fd, _NAME)
            ops.fsync(store_fd)
        except BaseException:
            ops.close(fd)
            raise
        return cls(ops, store_fd, fd, len(line))

    @classmethod
    def resume(cls, ops: FileOps, store_fd: int, found: Journaled) -> "Journal":
        """Open a journal that was found, to go on behind its last whole line."""
        fd = ops.open_write(store_fd, _NAME)
        try:
            ops.truncate(fd, found.size)
        except BaseException:
            ops.close(fd)
            raise
        return cls(ops, store_fd, fd, found.size)

    def mark(self, mark: Mark, report: Mapping[str, object] | None = None) -> None:
        """Append a mark and make it durable.

        Raises:
            OSError: whether it is on the disk is unknown.
        """
        line = _line({"mark": mark.value, "report": report or {}})
        self._ops.write(self._fd, self._size, line)
        self._ops.fsync(self._fd)
        self._size += len(line)

    def close(self) -> None:
        """Let go of it; it stays where it is."""
        self._ops.close(self._fd)

    def remove(self) -> None:
        """Delete it: nothing is pending any more.

        A journal that a power loss brings back says that only cleaning up is left, so its removal
        need not be durable.
        """
        remove(self._ops, self._store_fd)


def remove(ops: FileOps, store_fd: int) -> None:
    """Delete the journal of a store."""
    _forget(ops, store_fd, _NAME)


def exists(ops: FileOps, store_fd: int) -> bool:
    """Tell whether a commit or a recovery is unfinished."""
    return _NAME in ops.names(store_fd)


def read(ops: FileOps, store_fd: int) -> Journaled | None:
    """Return the journal of an unfinished commit, or None.

    Raises:
        RecoveryNeeded: there is one, but it is damaged; nothing is ever done by such a one.
    """
    try:
        fd = ops.open_read(store_fd, _NAME)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    content = bytearray()
    with opened(ops, fd):
        while block := ops.read(fd, BLOCK_BYTES):
            content += block
    try:
        return _parse(bytes(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecoveryNeeded(
            "the journal of an earlier commit is damaged, so nothing can be done by it",
            hint="compare the workspace with a backup; its staging directory, named"
            f" {STAGE_PREFIX}…, holds the files of one side. Then delete the journal",
        ) from error


def _parse(content: bytes) -> Journaled:
    rows: list[Mapping[str, object]] = []
    size = 0
    is_cut = False
    for line in content.split(b"\n")[:-1]:
        row = _row(line)
        if row is not None and is_cut:
            raise ValueError("a line in the middle is damaged")
        is_cut = row is None
        if row is not None:
            rows.append(row)
            size += len(line) + 1
    plan = _plan_from(rows[0] if rows else {})
    last = rows[-1] if len(rows) > 1 else None
    return Journaled(
        plan=plan,
        mark=Mark(cast("str", last["mark"])) if last else None,
        report=cast("Mapping[str, object]", last["report"]) if last else {},
        size=size,
    )


def _line(row: Mapping[str, object]) -> bytes:
    """Return a row as one line: its digest, a space, JSON in ASCII."""
    body = json.dumps(row, separators=(",", ":"), sort_keys=True).encode("ascii")
    return sha256(body).hexdigest().encode("ascii") + b" " + body + b"\n"


def _row(line: bytes) -> Mapping[str, object] | None:
    digest, _, body = line.partition(b" ")
    if sha256(body).hexdigest().encode("ascii") != digest:
        return None
    return cast("Mapping[str, object]", json.loads(body))


def _plan_json(plan: Plan) -> Mapping[str, object]:
    return {
        "format": _FORMAT,
        "nonce": plan.nonce,
        "changeset": plan.changeset,
        "workspace": plan.workspace,
        "steps": [step.as_json() for step in plan.steps],
    }


def _plan_from(row: Mapping[str, object]) -> Plan:
    if row["format"] != _FORMAT:
        raise ValueError("written by another version")
    steps = cast("list[Mapping[str, object]]", row["steps"])
    return Plan(
        nonce=str(row["nonce"]),
        changeset=str(row["changeset"]),
        workspace=str(row["workspace"]),
        steps=tuple(
            Step(
                slot=str(step["slot"]),
                path=str(step["path"]),
                action=Action(cast("str", step["action"])),
                before=_entry(step["before"]),
                after=_entry(step["after"]),
            )
            for step in steps
        ),
    )


def _entry(row: object) -> Entry | None:
    if row is None:
        return None
    fields = cast("Mapping[str, str | int | None]", row)
    return Entry(
        type=EntryType(cast("str", fields["type"])),
        mode=int(str(fields["mode"]), 8),
        size=cast("int", fields.get("size", 0)),
        sha256=cast("str | None", fields.get("sha256")),
        target=cast("str | None", fields.get("target")),
    )


def _forget(ops: FileOps, store_fd: int, name: str) -> None:
    try:
        ops.unlink(store_fd, name)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
