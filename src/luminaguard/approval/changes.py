"""The body of a card: each change with what it was and what it becomes."""

from collections.abc import Iterator, Sequence

from luminaguard.approval.facts import MARK_WORDS, size_text
from luminaguard.approval.hunks import diff_rows
from luminaguard.approval.look import Look, Style
from luminaguard.approval.rowlists import Chained
from luminaguard.approval.rows import Row, Span
from luminaguard.approval.summary import KIND_WORDS
from luminaguard.domain.changeset import Change, ChangeKind, Entry, EntryType
from luminaguard.domain.diff import Body, FileDiff
from luminaguard.domain.visible import visible

_HEADER_WORDS = {**KIND_WORDS, ChangeKind.CHMOD: "mode changed", ChangeKind.RETYPE: "type changed"}


def heading_row(change: Change, diff: FileDiff | None, number: str, look: Look) -> Row:
    """Return a change's first line: number, what happened, path, lines added and removed."""
    word = _HEADER_WORDS[change.kind]
    lost = change.kind in {ChangeKind.DELETE, ChangeKind.RMDIR}
    spans: list[Span] = [
        (Style.QUIET, f"{number} "),
        (Style.RED if lost else Style.STRONG, f"{word}  "),
        (Style.CYAN, change.path),
    ]
    if diff is not None and (diff.added or diff.removed):
        spans += [
            (Style.GREEN, f"  +{diff.added:,}"),
            (Style.RED, f" {look.glyphs.minus}{diff.removed:,}"),
        ]
    return Row(
        tuple(spans),
        edge=((Style.QUIET, look.glyphs.light * 2 + " "),),
        hang=((Style.QUIET, "   "),),
        prose=True,
    )


def change_rows(change: Change, diff: FileDiff | None, look: Look) -> Sequence[Row]:
    """Return everything about a change below its heading; rows are made when looked at."""
    notes = list(_notes(change, diff, look))
    return notes if diff is None else Chained([notes, diff_rows(diff, look)])


def _notes(change: Change, diff: FileDiff | None, look: Look) -> Iterator[Row]:
    for mark in change.marks:
        words = MARK_WORDS.get(mark.name, mark.name)
        yield _note(f"{look.glyphs.warning} {words}: {mark.why}", Style.WARNING)
    for line in _entry_lines(change, diff, look):
        yield _note(line)
    if diff is None:
        return
    if diff.note:
        yield _note(diff.note, Style.YELLOW)
    hidden = sum(_is_hidden(text) for hunk in diff.hunks for _, text in hunk.lines)
    if hidden:
        lines = "1 line holds" if hidden == 1 else f"{hidden:,} lines hold"
        text = f"{look.glyphs.warning} {lines} hidden or control characters, spelled out below"
        yield _note(text, Style.WARNING)


def _is_hidden(text: str) -> bool:
    return not (text.isascii() and text.isprintable()) and visible(text, tab="\t") != text


def _note(text: str, style: Style = Style.QUIET) -> Row:
    return Row(
        ((style, text),), edge=((Style.PLAIN, "   "),), hang=((Style.PLAIN, "     "),), prose=True
    )


def _entry_lines(change: Change, diff: FileDiff | None, look: Look) -> Iterator[str]:
    """Yield the differences that no text difference shows."""
    before, after = change.before, change.after
    if before is None or after is None or before.type is not after.type:
        if before is not None:
            yield f"was a {_described(before, look)}"
        if after is not None:
            yield f"becomes a {_described(after, look)}"
    else:
        if before.mode != after.mode:
            yield f"mode {before.mode:04o} {look.glyphs.arrow} {after.mode:04o}"
        if before.target != after.target:
            yield f"pointed to {before.target}"
            yield f"points to {after.target}"
    if diff is not None and diff.body in {Body.BINARY, Body.TOO_LARGE}:
        yield from _opaque_lines(before, after, diff.body)


def _described(entry: Entry, look: Look) -> str:
    if entry.type is EntryType.FILE:
        return f"file of {size_text(entry.size)}, mode {entry.mode:04o}"
    if entry.type is EntryType.SYMLINK:
        return f"link {look.glyphs.arrow} {entry.target}"
    return f"directory, mode {entry.mode:04o}"


def _opaque_lines(before: Entry | None, after: Entry | None, body: Body) -> Iterator[str]:
    yield "binary content, not shown" if body is Body.BINARY else "too large to compare by lines"
    for word, entry in (("before", before), ("after ", after)):
        if entry is not None and entry.type is EntryType.FILE:
            yield f"{word} {size_text(entry.size)}, sha256 {entry.sha256}"
