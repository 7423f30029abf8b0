"""How a change reads: line differences, computed on the host from host files and spooled bytes.

Never from anything the guest says about its own changes. The text stays raw, control characters and
all; making it safe to print is the screen's part. Nothing is shortened silently: what is not shown
line by line says so in its body and note.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher

from luminaguard.domain.changeset import Change, Changeset, Entry, EntryType
from luminaguard.domain.diff import Body, FileDiff, Hunk, LineKind
from luminaguard.workspace.base import Base
from luminaguard.workspace.measure.hostside import HostSide, conflict
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.spool import Spool

MAX_TEXT_BYTES = 2 << 20
"""Larger files are not compared line by line."""
_MAX_PAIRS = 4_000_000
"""Old lines times new lines: beyond it, a changed region is shown as replaced whole."""
_CONTEXT_LINES = 3


def file_diffs(
    root: WorkspaceRoot, base: Base, changeset: Changeset, spool: Spool
) -> tuple[FileDiff, ...]:
    """Return the difference of every change, in the changeset's order. Blocking.

    Raises:
        ChangesetConflict: a file changed on the host since it was measured.
    """
    with HostSide(root, base) as host:
        return tuple(_diff_of(change, host, base, spool) for change in changeset.changes)


def before_bytes(root: WorkspaceRoot, base: Base, change: Change) -> bytes | None:
    """Return the host's content of a file that a change starts from; None if it was no file.

    Raises:
        ChangesetConflict: the host's file is not the one that was measured against.
    """
    with HostSide(root, base) as host:
        return _before(change, host, base)


def file_diff(change: Change, before: bytes | None, after: bytes | None) -> FileDiff:
    """Return the difference of one change.

    Args:
        change: What happened.
        before: The file's bytes; None where it was no file, or its bytes are too many.
        after: Likewise.
    """
    notes = list(_entry_notes(change))
    was, is_now = _file(change.before), _file(change.after)
    if (was is None and is_now is None) or _same_content(was, is_now):
        return FileDiff(path=change.path, body=Body.NONE, note=", ".join(notes))
    if _is_missing(was, before) or _is_missing(is_now, after):
        notes.append(_sizes(was, is_now))
        return FileDiff(path=change.path, body=Body.TOO_LARGE, note=", ".join(notes))
    old, new = _text(before or b""), _text(after or b"")
    if old is None or new is None:
        notes.append(_sizes(was, is_now))
        return FileDiff(path=change.path, body=Body.BINARY, note=", ".join(notes))
    notes += _text_notes(old, new)
    hunks = tuple(_hunks(_lines(old), _lines(new)))
    kinds = [kind for hunk in hunks for kind, _ in hunk.lines]
    return FileDiff(
        path=change.path,
        body=Body.TEXT,
        added=kinds.count(LineKind.ADDED),
        removed=kinds.count(LineKind.REMOVED),
        hunks=hunks,
        note=", ".join(notes),
    )


def _diff_of(change: Change, host: HostSide, base: Base, spool: Spool) -> FileDiff:
    if _too_large(change.before) or _too_large(change.after):
        return file_diff(change, None, None)
    after = None
    is_now = _file(change.after)
    if is_now is not None and is_now.sha256 is not None:
        if _same_content(_file(change.before), is_now):
            return file_diff(change, None, None)
        with spool.open(is_now.sha256) as content:
            after = content.read()
    return file_diff(change, _before(change, host, base), after)


def _before(change: Change, host: HostSide, base: Base) -> bytes | None:
    before = _file(change.before)
    if before is None:
        return None
    held = base.get(change.path)
    if held is None or held.type is not EntryType.FILE:
        raise conflict(change.path, "is not part of what the session saw")
    return host.content(change.path, held, before.sha256)


def _file(entry: Entry | None) -> Entry | None:
    return entry if entry is not None and entry.type is EntryType.FILE else None


def _too_large(entry: Entry | None) -> bool:
    return entry is not None and entry.size > MAX_TEXT_BYTES


def _is_missing(entry: Entry | None, content: bytes | None) -> bool:
    return entry is not None and content is None


def _same_content(was: Entry | None, is_now: Entry | None) -> bool:
    return was is not None and is_now is not None and was.sha256 == is_now.sha256


def _entry_notes(change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    if before is not None and after is not None:
        if before.type is not after.type:
            yield f"{before.type.value} becomes {after.type.value}"
        elif before.mode != after.mode:
            yield f"mode {before.mode:04o} → {after.mode:04o}"
    elif after is not None and after.type is EntryType.FILE and after.mode & 0o111:
        yield f"executable, mode {after.mode:04o}"
    if before is not None and before.target is not None:
        yield f"pointed to {before.target}"
    if after is not None and after.target is not None:
        yield f"points to {after.target}"


def _text_notes(old: str, new: str) -> Iterator[str]:
    if new and not new.endswith("\n"):
        yield "no newline at end of file"
    elif old and new and not old.endswith("\n"):
        yield "newline at end of file added"
    if old != new and old.replace("\r\n", "\n") == new.replace("\r\n", "\n"):
        yield "only line endings changed"
    elif old and new and ("\r\n" in old) != ("\r\n" in new):
        yield "line endings changed"


def _sizes(was: Entry | None, is_now: Entry | None) -> str:
    if was is None or is_now is None:
        one = was or is_now
        return f"{one.size if one else 0:,} bytes"
    return f"{was.size:,} → {is_now.size:,} bytes"


def _text(content: bytes) -> str | None:
    """Decode, or None for what is not text: bytes that are not UTF-8, or a NUL."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    """Split at newlines only: other separators are content, and must be seen as such.

    The last line of a text without a final newline carries a mark that no line can have, so that
    it differs from the same line with one.
    """
    if not text:
        return []
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\0"] if last else lines


def _hunks(old: list[str], new: list[str]) -> Iterator[Hunk]:
    for group in _grouped(old, new):
        lines: list[tuple[LineKind, str]] = []
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                lines += [(LineKind.CONTEXT, line) for line in old[old_from:old_to]]
                continue
            lines += [(LineKind.REMOVED, line) for line in old[old_from:old_to]]
            lines += [(LineKind.ADDED, line) for line in new[new_from:new_to]]
        shown = tuple((kind, line.removesuffix("\0")) for kind, line in lines)
        first = group[0]
        yield Hunk(_start(old, first[1]), _start(new, first[3]), shown)


def _start(lines: list[str], index: int) -> int:
    return index + 1 if lines else 0


_Opcode = tuple[str, int, int, int, int]


def _grouped(old: list[str], new: list[str]) -> Iterator[list[_Opcode]]:
    """Yield groups of changes with their context, in bounded time.

    What both texts begin and end with is set aside first: most edits are small.
    """
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    old_end, new_end = len(old) - tail, len(new) - tail
    if head == old_end and head == new_end:
        return
    middle: list[_Opcode] = [("replace", head, old_end, head, new_end)]
    if (old_end - head) * (new_end - head) <= _MAX_PAIRS:
        matcher = SequenceMatcher(None, old[head:old_end], new[head:new_end], autojunk=False)
        middle = [
            (tag, a + head, b + head, c + head, d + head)
            for tag, a, b, c, d in matcher.get_opcodes()
        ]
    around: list[_Opcode] = [
        ("equal", 0, head, 0, head),
        *middle,
        ("equal", old_end, len(old), new_end, len(new)),
    ]
    yield from _split([code for code in around if code[1] < code[2] or code[3] < code[4]])


def _split(codes: list[_Opcode]) -> Iterator[list[_Opcode]]:
    """Cut long equal runs down to context, which splits the changes into groups."""
    group: list[_Opcode] = []
    for number, (tag, a, b, c, d) in enumerate(codes):
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        after = min(_CONTEXT_LINES, b - a) if group else 0
        before = min(_CONTEXT_LINES, b - a) if number < len(codes) - 1 else 0
        if group and after + before >= b - a and number < len(codes) - 1:
            group.append((tag, a, b, c, d))
            continue
        if group:
            yield [*group, (tag, a, a + after, c, c + after)]
        group = [(tag, b - before, b, d - before, d)] if before else []
    if any(code[0] != "equal" for code in group):
        yield group
