"""A repository's change, told as people speak of it: checked against git itself."""

import os
import shutil
import subprocess
from pathlib import Path

from luminaguard.domain.harvest import FileBytes, UpperDirectory, UpperFile, UpperRecord, Whiteout
from luminaguard.workspace.measure.gitview import git_lines
from measuring import make_tree, sent, shape_of


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org"]
    done = subprocess.run(
        ["git", *identity, "-c", "init.defaultBranch=main", "-c", "gc.auto=0", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    return done.stdout.strip()


def as_upper(before: Path, after: Path) -> list[UpperRecord]:
    """What an overlay's upper layer would hold after these edits, every directory copied up."""
    was, now = shape_of(before), shape_of(after)
    records: list[UpperRecord] = []
    for path in sorted(was.keys() | now.keys()):
        raw = path.encode()
        if path not in now:
            if os.path.dirname(path) in now or "/" not in path:
                records.append(Whiteout(raw))
        elif now[path][0] == "directory":
            records.append(UpperDirectory(raw, now[path][1], False, None))
        elif now[path] != was.get(path):
            records.append(UpperFile(raw, now[path][1], len(now[path][2]), 0))
            if now[path][2]:
                records.append(FileBytes(0, now[path][2]))
    return records


def repository(place: Path) -> Path:
    make_tree(place, {"a.txt": "one\n"})
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "First")
    return place


def told(tmp_path: Path, *commands: list[str]) -> tuple[str, ...]:
    host = tmp_path / "ws"
    guest = tmp_path / "guest"
    shutil.copytree(host, guest, symlinks=True)
    for command in commands:
        git(guest, *command)
    with sent(host, tmp_path) as one:
        changeset = one.measure(as_upper(host, guest))
        return git_lines(one.root, changeset, one.spool)


def test_a_commit_is_told_with_its_branch_subject_and_author(tmp_path: Path) -> None:
    host = repository(tmp_path / "ws")
    before = git(host, "rev-parse", "HEAD")
    lines = told(tmp_path, ["commit", "-q", "--allow-empty", "-m", "Second one\n\nbody"])
    after = git(tmp_path / "guest", "rev-parse", "HEAD")
    assert f"branch main: {before[:10]} → {after[:10]}" in lines
    assert f"new commit {after[:10]} Second one (Ada Lovelace)" in lines
    assert "1 new objects, 1 of them commits" in lines


def test_branches_tags_and_head_are_told(tmp_path: Path) -> None:
    host = repository(tmp_path / "ws")
    now = git(host, "rev-parse", "HEAD")[:10]
    lines = told(
        tmp_path, ["checkout", "-q", "-b", "topic"], ["tag", "v1"], ["branch", "-D", "main"]
    )
    assert f"branch topic: (none) → {now}" in lines
    assert f"branch main: {now} → (none)" in lines
    assert f"tag v1: (none) → {now}" in lines
    assert "HEAD: main → topic" in lines


def test_packed_refs_are_told(tmp_path: Path) -> None:
    host = repository(tmp_path / "ws")
    now = git(host, "rev-parse", "HEAD")[:10]
    lines = told(tmp_path, ["pack-refs", "--all"])
    assert f"branch main (packed): (none) → {now}" in lines


def test_configuration_and_hooks_are_named(tmp_path: Path) -> None:
    repository(tmp_path / "ws")
    (tmp_path / "ws/.git/hooks").mkdir(exist_ok=True)
    lines = told(tmp_path, ["config", "core.editor", "evil"])
    assert "configuration: modify" in lines


def test_an_object_that_lies_about_its_name_is_not_told(tmp_path: Path) -> None:
    repository(tmp_path / "ws")
    host, guest = tmp_path / "ws", tmp_path / "guest"
    shutil.copytree(host, guest, symlinks=True)
    git(guest, "commit", "-q", "--allow-empty", "-m", "Harmless")
    digest = git(guest, "rev-parse", "HEAD")
    real = guest / ".git/objects" / digest[:2] / digest[2:]
    false = guest / ".git/objects" / digest[:2] / ("0" * 38)
    real.rename(false)
    with sent(host, tmp_path) as one:
        changeset = one.measure(as_upper(host, guest))
        lines = git_lines(one.root, changeset, one.spool)
    assert not any("Harmless" in line for line in lines)
    assert "1 new objects, 0 of them commits" in lines


def test_a_worktree_says_that_its_repository_is_elsewhere(tmp_path: Path) -> None:
    make_tree(tmp_path / "ws", {".git": "gitdir: /elsewhere\n"})
    with sent(tmp_path / "ws", tmp_path) as one:
        untouched = one.measure([])
        assert "worktree" in git_lines(one.root, untouched, one.spool)[0]
        stream: list[UpperRecord] = [UpperFile(b".git", 0o644, 1, 0), FileBytes(0, b"x")]
        assert "written" in git_lines(one.root, one.measure(stream), one.spool)[0]


def test_nothing_is_told_where_the_repository_is_untouched(tmp_path: Path) -> None:
    repository(tmp_path / "ws")
    assert told(tmp_path) == ()
