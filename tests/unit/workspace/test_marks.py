"""Reasons to look twice."""

import pytest

from luminaguard.domain.changeset import Change, ChangeKind, Entry, EntryType
from luminaguard.workspace.measure.collisions import folded
from luminaguard.workspace.measure.marks import marks_of

FILE = Entry(type=EntryType.FILE, mode=0o644, size=1, sha256="0")


def names(path: str, after: Entry | None = FILE, before: Entry | None = None) -> set[str]:
    change = Change(path=path, kind=ChangeKind.CREATE, before=before, after=after)
    return {mark.name for mark in marks_of(change)}


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".git/modules/a/hooks/post-checkout",
        ".git/config",
        ".git",
        "sub/.git/config",
        ".GIT/hooks/pre-commit",
        ".g\u200cit/config",
        ".gitattributes",
        ".bashrc",
        ".envrc",
        ".vscode/tasks.json",
        ".vscode/settings.json",
        ".idea/workspace.xml",
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        ".pre-commit-config.yaml",
        "package.json",
        "packages/a/package.json",
        ".npmrc",
        "setup.py",
        "pyproject.toml",
        "tests/conftest.py",
        "lib/evil.pth",
        "sitecustomize.py",
        ".cargo/config.toml",
        "build.rs",
        ".claude/settings.json",
        "CLAUDE.md",
        ".mcp.json",
        ".devcontainer/devcontainer.json",
        ".husky/pre-push",
        "gradlew",
    ],
)
def test_what_runs_later_on_the_host_is_marked(path: str) -> None:
    assert names(path) == {"runs-later"}
    assert names(path, before=FILE) == {"runs-later"}
    assert names(path, after=None, before=FILE) == set()


@pytest.mark.parametrize(
    "path",
    ["main.py", "git/hooks/x", ".gitignore", ".git/index", "my-package.json", "Makefile",
     "src/config", "conftest.txt", "README.md", "x.pth.txt", ".git/refs/heads/main"],
)  # fmt: skip
def test_what_does_not_is_not(path: str) -> None:
    assert names(path) == set()


@pytest.mark.parametrize(
    "path", [".git/hooks", ".vscode", ".github/workflows", ".husky", ".claude"]
)
def test_a_link_in_place_of_a_directory_that_runs_later_is_marked(path: str) -> None:
    link = Entry(type=EntryType.SYMLINK, mode=0o777, target="elsewhere")
    directory = Entry(type=EntryType.DIRECTORY, mode=0o755)
    assert names(path, link) == {"runs-later"}
    assert names(path, directory) == set()


@pytest.mark.parametrize(
    ("path", "target", "is_outside"),
    [
        ("l", "/etc/passwd", True),
        ("l", "..", True),
        ("a/l", "..", False),
        ("a/l", "../..", True),
        ("a/l", "../../ws/x", True),
        ("l", "a/../../x", True),
        ("l", "a/../b", False),
        ("l", ".", False),
        ("a/b/l", "../../x", False),
    ],
)
def test_links_that_lead_outside_are_marked(path: str, target: str, *, is_outside: bool) -> None:
    link = Entry(type=EntryType.SYMLINK, mode=0o777, target=target)
    assert ("link-outside" in names(path, link)) == is_outside


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "a"), ("caf\u00e9", "cafe\u0301"), ("\u212b", "\u00c5"), ("stra\u00dfe", "STRASSE"),
     (".git", ".g\u200dit"), ("\ufeffx", "x"), ("\u03a3", "\u03c2")],
)  # fmt: skip
def test_names_that_some_file_system_takes_for_one_fold_alike(one: str, other: str) -> None:
    assert folded(one) == folded(other)


def test_different_names_do_not_fold_alike() -> None:
    assert len({folded(name) for name in ("a", "b", "a.", "a ", "\u00e4", "ae")}) == 6
