"""What a changeset does to a git repository, as people speak of it: branches and commits.

Git is not started: the guest's objects are read from the spool, with bounds, and an object counts
only if its bytes have the digest that its name claims. Everything shown is a reading aid beside the
changes themselves, which stay what is approved.
Source: gitrepository-layout(5), git's Documentation/gitformat-loose and gitformat-pack.
"""

import hashlib
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from luminaguard.domain.changeset import Change, Changeset, Entry, EntryType
from luminaguard.workspace.confined import Descent, read_all
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.spool import Spool

_OBJECT = re.compile(r"^\.git/objects/([0-9a-f]{2})/([0-9a-f]{38}|[0-9a-f]{62})$")
_DIGEST = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_MAX_REF_BYTES = 1 << 20
_MAX_COMMIT_BYTES = 1 << 18
_MAX_OBJECTS_READ = 5_000
_MAX_COMMITS_SHOWN = 20
_SHOWN_DIGITS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    digest: str
    subject: str
    author: str
    parents: int


def git_lines(root: WorkspaceRoot, changeset: Changeset, spool: Spool) -> tuple[str, ...]:
    """Return lines that tell what happened to the workspace's repository; none where nothing did.

    The text is the guest's own and raw: not yet safe to print. Blocking.
    """
    touched = [change for change in changeset.changes if change.path.startswith(".git/")]
    with Descent(root.fd) as tree:
        lines = [*_placement(tree, changeset)]
        if touched:
            view = _View(tree, spool)
            lines += view.refs(touched)
            lines += view.objects(touched)
            lines += _rest(touched)
    return tuple(lines)


class _View:
    def __init__(self, tree: Descent, spool: Spool) -> None:
        self._tree = tree
        self._spool = spool

    def refs(self, changes: list[Change]) -> Iterator[str]:
        """Yield a line for every branch, tag or HEAD that points elsewhere now."""
        for change in changes:
            name = change.path.removeprefix(".git/")
            if name == "packed-refs":
                yield from self._packed(change)
            elif name == "HEAD" or name.startswith("refs/"):
                was, is_now = self._before(change), self._after(change)
                if _is_file(change.before) or _is_file(change.after):
                    yield f"{_ref(name)}: {_point(was)} → {_point(is_now)}"

    def objects(self, changes: list[Change]) -> Iterator[str]:
        """Yield the new commits, and how many objects came with them."""
        made = [change for change in changes if change.before is None]
        loose = [change for change in made if _OBJECT.match(change.path)]
        commits = [
            commit for commit in map(self._commit, loose[:_MAX_OBJECTS_READ]) if commit is not None
        ]
        for commit in commits[:_MAX_COMMITS_SHOWN]:
            merge = f", merges {commit.parents}" if commit.parents > 1 else ""
            yield f"new commit {_short(commit.digest)} {commit.subject} ({commit.author}{merge})"
        if len(commits) > _MAX_COMMITS_SHOWN:
            yield f"and {len(commits) - _MAX_COMMITS_SHOWN} more new commits"
        if loose:
            unread = f", {len(loose) - _MAX_OBJECTS_READ} of them not looked at"
            more = unread if len(loose) > _MAX_OBJECTS_READ else ""
            yield f"{len(loose)} new objects, {len(commits)} of them commits{more}"
        packs = sum(1 for change in made if change.path.endswith(".pack"))
        if packs:
            yield f"{packs} new packs, whose commits are not listed"

    def _packed(self, change: Change) -> Iterator[str]:
        was, is_now = _packed_refs(self._before(change)), _packed_refs(self._after(change))
        for name in sorted(was.keys() | is_now.keys()):
            if was.get(name) != is_now.get(name):
                yield f"{_ref(name)} (packed): {_point(was.get(name))} → {_point(is_now.get(name))}"

    def _before(self, change: Change) -> str | None:
        entry = change.before
        if not _is_file(entry) or entry is None or entry.size > _MAX_REF_BYTES:
            return None
        try:
            with self._tree.file(change.path) as fd:
                content = read_all(fd, entry.size)
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            return None
        return content.decode(errors="replace")

    def _after(self, change: Change) -> str | None:
        content = self._spooled(change.after, _MAX_REF_BYTES)
        return None if content is None else content.decode(errors="replace")

    def _spooled(self, entry: Entry | None, limit: int) -> bytes | None:
        if not _is_file(entry) or entry is None or entry.sha256 is None or entry.size > limit:
            return None
        with self._spool.open(entry.sha256) as content:
            return content.read()

    def _commit(self, change: Change) -> _Commit | None:
        named = _OBJECT.match(change.path)
        packed = self._spooled(change.after, _MAX_COMMIT_BYTES)
        if named is None or packed is None:
            return None
        digest = named[1] + named[2]
        try:
            raw = zlib.decompressobj().decompress(packed, _MAX_COMMIT_BYTES)
        except zlib.error:
            return None
        algorithm = hashlib.sha1 if len(digest) == 40 else hashlib.sha256
        if not raw.startswith(b"commit ") or algorithm(raw).hexdigest() != digest:
            return None
        return _parsed(digest, raw.partition(b"\0")[2].decode(errors="replace"))


def _parsed(digest: str, text: str) -> _Commit:
    head, _, message = text.partition("\n\n")
    author, parents = "unknown author", 0
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "author":
            author = value.rpartition(" <")[0] or value
        parents += key == "parent"
    subject = message.lstrip("\n").partition("\n")[0]
    return _Commit(digest=digest, subject=subject, author=author, parents=parents)


def _placement(tree: Descent, changeset: Changeset) -> Iterator[str]:
    """Say so where the repository itself is elsewhere."""
    status = tree.status(".git")
    made = any(
        change.path.rpartition("/")[2] == ".git" and _is_file(change.after)
        for change in changeset.changes
    )
    if made:
        yield "a .git file was written: it sends git to a repository elsewhere"
    elif status is not None and stat.S_ISREG(status.st_mode):
        yield "worktree or submodule: its repository lies elsewhere and was not sent"


def _rest(changes: list[Change]) -> Iterator[str]:
    """Name what is neither ref nor object, and easily overlooked."""
    watched = {"config": "configuration", "index": "index (staged changes)"}
    for change in changes:
        name = change.path.removeprefix(".git/")
        if name in watched:
            yield f"{watched[name]}: {change.kind.value}"
        elif name.startswith("hooks/"):
            yield f"hook {name.removeprefix('hooks/')}: {change.kind.value}"


def _packed_refs(text: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (text or "").split("\n"):
        digest, _, name = line.partition(" ")
        if name and _DIGEST.match(digest):
            found[name] = digest
    return found


def _ref(name: str) -> str:
    for prefix, kind in (("refs/heads/", "branch"), ("refs/tags/", "tag")):
        if name.startswith(prefix):
            return f"{kind} {name.removeprefix(prefix)}"
    return name


def _point(text: str | None) -> str:
    if text is None:
        return "(none)"
    value = text.strip().removeprefix("ref: refs/heads/")
    return _short(value) if _DIGEST.match(value) else value


def _short(digest: str) -> str:
    return digest[:_SHOWN_DIGITS]


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.type is EntryType.FILE
