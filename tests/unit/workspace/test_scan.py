"""What of a tree enters a guest, and what is left out and why."""

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import WorkspaceTooLarge
from luminaguard.workspace.manifest import Manifest
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.gitindex import UnreadableIndex, tracked_paths
from luminaguard.workspace.send.gitrules import global_excludes_file, read_rules
from luminaguard.workspace.send.scan import ScanLimits, scan
from measuring import make_tree


def scanned(
    directory: Path,
    *,
    include: tuple[str, ...] = (),
    global_lines: tuple[str, ...] = (),
    limits: ScanLimits | None = None,
) -> Manifest:
    with WorkspaceRoot.open(directory) as root:
        rules = read_rules(root, include=include, global_lines=global_lines)
        return scan(root, rules, limits)


NAMES = ("x", "x.log", "y.txt", "z")


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    return done.stdout


def test_directories_come_before_their_contents_and_keep_their_modes(tmp_path: Path) -> None:
    make_tree(tmp_path, {"b/c/x": "x", "a": "a", "empty/": None})
    (tmp_path / "a").chmod(0o751)
    (tmp_path / "l").symlink_to("/nowhere")
    manifest = scanned(tmp_path)
    paths = list(manifest.entries)
    assert sorted(paths) == ["a", "b", "b/c", "b/c/x", "empty", "l"]
    assert paths.index("b") < paths.index("b/c") < paths.index("b/c/x")
    assert manifest.entries["a"].mode == 0o751
    assert manifest.entries["l"].target == "/nowhere"
    assert manifest.left_out == {}


@pytest.mark.guarantee("G10")
def test_secrets_stay_on_the_host_unless_they_are_included(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {
            ".env": "",
            "sub/.env.production": "",
            ".env.example": "",
            "deploy.key": "",
            "id_ed25519": "",
            ".aws/credentials": "",
            ".ssh/config": "",
            "app.py": "",
        },
    )
    manifest = scanned(tmp_path)
    assert {path for path in manifest.entries if not path.startswith((".aws", "sub"))} == {
        ".env.example",
        "app.py",
    }
    assert manifest.left_out == {
        ".env": "secret: environment file",
        "sub/.env.production": "secret: environment file",
        "deploy.key": "secret: private key",
        "id_ed25519": "secret: private key",
        ".aws/credentials": "secret: cloud credentials",
        ".ssh": "secret: credentials",
    }
    assert ".env" in scanned(tmp_path, include=(".env",)).entries
    assert ".ssh/config" in scanned(tmp_path, include=(".ssh/",)).entries


FOLDERS = st.sampled_from(["", "a", "b", "a/b", "a/c.d"])
FILES = [
    f"{folder}{name}" for folder in ("", "a/", "b/", "a/b/", "a/c.d/", "b/a/") for name in NAMES
]
PATTERNS = st.lists(
    st.sampled_from(
        ["x", "*.log", "!x.log", "/x", "a/", "b/x", "a/b", "**/b", "a/**", "!a/b/", "*", "!*.txt",
         "?.log", "[xy].txt", "*.t?t", "a/*/x", "# x", "", "\\#x", "x ", "!x", "/a/b/y.txt", "c.d",
         "!a/", "**/y.*", "*y*", "/*", "!/a", "b", "a/b/**/x"]
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(rules=st.dictionaries(FOLDERS, PATTERNS, max_size=4), excluded=PATTERNS, mine=PATTERNS)
def test_ignore_rules_count_as_git_counts_them(
    rules: dict[str, list[str]], excluded: list[str], mine: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = make_tree(Path(name) / "ws", dict.fromkeys(FILES, ""))
        git(tree, "init", "-q")
        (tree / ".git/info/exclude").write_text("\n".join(excluded))
        (Path(name) / "mine").write_text("\n".join(mine))
        for folder, patterns in rules.items():
            (tree / folder / ".gitignore").write_text("\n".join(patterns))
        kept = git(
            tree, "-c", f"core.excludesFile={name}/mine", "ls-files", "-o", "--exclude-standard"
        )
        manifest = scanned(tree, global_lines=tuple(mine))
        sent_files = {
            path
            for path, entry in manifest.entries.items()
            if entry.type is EntryType.FILE and not path.startswith(".git/")
        }
        assert sent_files == set(kept.split())


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_what_git_tracks_is_sent_even_if_ignored(tmp_path: Path, version: str) -> None:
    make_tree(tmp_path, {".gitignore": "*.log\nout/\n", "a.log": "", "b.log": "", "out/x/y": ""})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "a.log", "out/x/y", ".gitignore")
    (tmp_path / "out/z").write_text("")
    git(tmp_path, "update-index", "--index-version", version)
    if version == "3":
        (tmp_path / "new").write_text("")
        git(tmp_path, "add", "-N", "new")
    content = (tmp_path / ".git/index").read_bytes()
    assert {"a.log", "out/x/y", ".gitignore"} <= tracked_paths(content)
    manifest = scanned(tmp_path)
    assert {"a.log", "out/x/y"} <= manifest.entries.keys()
    assert manifest.left_out["b.log"] == "ignored"
    assert manifest.left_out["out/z"] == "ignored"


def test_a_damaged_index_tracks_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path, {".gitignore": "*.log\n", "a.log": ""})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "a.log")
    index = tmp_path / ".git/index"
    whole = index.read_bytes()
    for cut in range(len(whole) - 20):
        try:
            assert tracked_paths(whole[:cut]) <= {"a.log", ".gitignore"}
        except UnreadableIndex:
            continue
    index.write_bytes(b"DIRC" + b"\xff" * 100)
    assert scanned(tmp_path).left_out["a.log"] == "ignored"


def test_a_part_of_a_repository_follows_the_whole_one_s_rules(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {".git/HEAD": "", ".gitignore": "/part/generated\n*.tmp\n", "part/generated": "",
         "part/x.tmp": "", "part/kept": "", "part/deeper/generated": ""},
    )  # fmt: skip
    manifest = scanned(tmp_path / "part")
    assert manifest.left_out == {"generated": "ignored", "x.tmp": "ignored"}


def test_includes_send_what_rules_leave_out_but_never_host_binaries(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {".gitignore": "data/\nout/\n.venv\n", "data/big/a.csv": "", "data/b.txt": "",
         "out/x": "", ".venv/pyvenv.cfg": "", "env/pyvenv.cfg": "", "env/bin/python": ""},
    )  # fmt: skip
    manifest = scanned(tmp_path, include=("*.csv", ".venv", "env"))
    assert "data/big/a.csv" in manifest.entries
    assert "data/b.txt" not in manifest.entries
    assert manifest.left_out["out"] == "ignored"
    assert manifest.left_out[".venv"] == "host binaries"
    assert manifest.left_out["env"] == "host binaries"


def test_what_cannot_be_carried_is_listed(tmp_path: Path) -> None:
    make_tree(tmp_path, {"fine": "", ".luminaguard": "", ".LuminaGuard.d/x": ""})
    (tmp_path / os.fsdecode(b"bad\xff")).write_text("")
    (tmp_path / "link").symlink_to(os.fsdecode(b"bad\xff"))
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        (tmp_path / "closed").write_text("")
        (tmp_path / "closed").chmod(0o020)
        assert scanned(tmp_path).left_out == {
            ".luminaguard": "reserved for LuminaGuard",
            ".LuminaGuard.d": "reserved for LuminaGuard",
            "bad\\xff": "name is not UTF-8",
            "link": "link target is not UTF-8",
            "pipe": "special file",
            "sock": "special file",
            "closed": "unreadable",
        }


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_another_file_system_in_the_tree_is_left_out(tmp_path: Path, kind: str) -> None:
    make_tree(tmp_path, {"ws/point/": None, "elsewhere/private": "private"})
    options = ["--bind", tmp_path / "elsewhere"] if kind == "bind" else ["-t", "tmpfs", "tmpfs"]
    subprocess.run(["mount", *options, tmp_path / "ws/point"], check=True)
    try:
        manifest = scanned(tmp_path / "ws")
        assert manifest.entries == {}
        assert manifest.left_out == {"point": "mount point"}
    finally:
        subprocess.run(["umount", tmp_path / "ws/point"], check=True)


def test_a_tree_over_its_caps_is_refused_with_what_takes_the_room(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"vendor/big/{n}": "x" * 100 for n in range(30)} | {"src/a": "x"})
    with pytest.raises(WorkspaceTooLarge, match=r"vendor/big \(2\d entries\)") as caught:
        scanned(tmp_path, limits=ScanLimits(files=30))
    assert ".gitignore" in (caught.value.hint or "")
    with pytest.raises(WorkspaceTooLarge, match="vendor/big"):
        scanned(tmp_path, limits=ScanLimits(size_bytes=1000))


def test_the_digest_follows_every_change_of_the_tree(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a": "1", "b": "2"})
    seen = [scanned(tmp_path).digest]
    assert scanned(tmp_path).digest == seen[0]
    for change in (
        lambda: (tmp_path / "a").write_text("3"),
        lambda: (tmp_path / "a").chmod(0o600),
        lambda: (tmp_path / "c").write_text(""),
        (tmp_path / "b").unlink,
    ):
        change()
        seen.append(scanned(tmp_path).digest)
    assert len(set(seen)) == len(seen)


def test_the_user_s_global_ignore_file_is_found(tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("[core]\n\texcludesFile = ~/my-ignores\n")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "GIT_DIR": "/evil"}
    assert global_excludes_file(environment) == tmp_path / "my-ignores"
    (tmp_path / ".gitconfig").unlink()
    assert global_excludes_file(environment) == tmp_path / ".config/git/ignore"
    assert global_excludes_file(environment | {"PATH": "/nonexistent"}) == (
        tmp_path / ".config/git/ignore"
    )
