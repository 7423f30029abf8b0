"""Reasons to look twice at a change: what runs later on the host, and links that lead outside.

A marked change is no crime; it is where an effect hides that the changeset itself does not show.
The list holds what common tools start by themselves, without anybody asking for that very file:
shells and editors when they open a directory, git on its next command, package managers on their
next install, test runners and CI. A Makefile is not marked: whoever runs `make` runs it knowingly.
Source: githooks(5), git-config(1), and the tools' own manuals; CVE-2024-32002 (hooks written by a
checkout) and CVE-2025-54135 (an editor's configuration that starts servers) show the class.
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from luminaguard.domain.changeset import Change, EntryType, Mark
from luminaguard.workspace.measure.collisions import folded

RUNS_LATER = "runs-later"
LINK_OUTSIDE = "link-outside"
SPECIAL_BITS = "special-bits-dropped"


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    """Against the whole path, in the form of `folded`."""
    why: str


def _rules(*rows: tuple[str, str]) -> Sequence[_Rule]:
    return [_Rule(re.compile(rf"(?:^|.*/)(?:{expression})$"), why) for expression, why in rows]


_RUNS_LATER = _rules(
    (
        r"\.git/(?:modules/.+/)?hooks/[^/]+",
        "Git runs its hooks on the next commit, checkout or push.",
    ),
    (
        r"\.git/(?:modules/.+/|worktrees/[^/]+/)?config(?:\.worktree)?",
        "Git's configuration can name programs that its next command starts.",
    ),
    (
        r"\.git/info/attributes|\.gitattributes",
        "Git attributes choose filters and merge drivers that run on checkout.",
    ),
    (r"\.gitmodules", "Git fetches and checks out what this file names."),
    (r"\.git", "A .git file sends git to another repository and its hooks."),
    (
        r"\.(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv"
        r"|zprofile|zlogin|kshrc|cshrc|tcshrc|login|xprofile|xinitrc|inputrc)"
        r"|\.config/fish/.+\.fish",
        "A shell runs its start-up files whenever it opens.",
    ),
    (r"\.envrc", "direnv runs it when the directory is entered."),
    (r"mise\.toml|\.mise\.toml|\.tool-versions", "mise and asdf choose the programs that run."),
    (
        r"\.vscode/(?:tasks|settings|launch|extensions|mcp)\.json|[^/]+\.code-workspace",
        "The editor starts tasks and tools that its settings name.",
    ),
    (
        r"\.idea/.+\.xml|[^/]+\.iml|\.run/[^/]+\.xml|\.fleet/[^/]+\.json",
        "The editor starts run configurations and tools that its settings name.",
    ),
    (r"\.devcontainer(?:/.+|\.json)", "The editor builds and starts what the container names."),
    (
        r"\.(?:vimrc|exrc|nvimrc|nvim\.lua|dir-locals\.el|lvimrc)|\.nvim/.+|\.sublime-project",
        "The editor runs project settings when it opens the directory.",
    ),
    (
        r"\.(?:claude|cursor|gemini|codex|windsurf|kiro)/.+|\.mcp\.json|\.cursorrules|claude\.md"
        r"|agents\.md|gemini\.md|\.github/copilot-instructions\.md",
        "Coding agents read it as instructions, hooks or servers to start.",
    ),
    (
        r"\.github/(?:workflows|actions)/.+|\.gitlab-ci\.yml|\.gitlab/ci/.+|\.circleci/.+"
        r"|\.travis\.yml|jenkinsfile|azure-pipelines\.yml|\.drone\.ya?ml|\.woodpecker(?:\.ya?ml|/.+)"
        r"|bitbucket-pipelines\.yml|\.ci/.+|\.buildkite/.+|\.forgejo/workflows/.+"
        r"|\.gitea/workflows/.+|appveyor\.yml|cloudbuild\.yaml",
        "The CI service runs it with its own credentials after the next push.",
    ),
    (
        r"\.pre-commit-config\.yaml|\.husky/.+|lefthook\.ya?ml|\.lefthook/.+|\.overcommit\.yml",
        "It names programs that run on the next commit.",
    ),
    (
        r"package\.json|\.npmrc|\.yarnrc(?:\.yml)?|\.yarn/(?:releases|plugins)/.+|\.pnpmfile\.c?js"
        r"|bunfig\.toml",
        "The package manager runs its scripts and settings on the next install.",
    ),
    (
        r"setup\.py|setup\.cfg|pyproject\.toml|hatch_build\.py|pip\.conf|\.pypirc|uv\.toml",
        "Installing or building the project runs what it names.",
    ),
    (
        r"conftest\.py|pytest\.ini|tox\.ini|noxfile\.py",
        "Test runners execute it before any test.",
    ),
    (
        r"[^/]+\.pth|sitecustomize\.py|usercustomize\.py",
        "Python executes it whenever an interpreter starts.",
    ),
    (
        r"build\.rs|\.cargo/config(?:\.toml)?|rust-toolchain(?:\.toml)?",
        "Cargo runs it, or the program it names, on the next build.",
    ),
    (
        r"gradlew(?:\.bat)?|(?:build|settings)\.gradle(?:\.kts)?|gradle/wrapper/.+|gradle\.properties"
        r"|mvnw(?:\.cmd)?|\.mvn/.+",
        "The build tool runs it, and editors do so when they open the project.",
    ),
    (
        r"gemfile|[^/]+\.gemspec|\.irbrc|\.rspec|\.bundle/config|composer\.json",
        "The package manager or test runner executes it.",
    ),
    (
        r"[^/]+\.service|[^/]+\.desktop|[^/]+\.plist|crontab|cron\.(?:d|daily|hourly)/.+"
        r"|\.config/(?:autostart|systemd)/.+",
        "The system starts what it names.",
    ),
    (r"\.gdbinit|\.lldbinit|\.gdbearlyinit", "The debugger runs it when it starts."),
    (r"\.envoyrc|\.netrc|\.ssh/.+|\.gnupg/.+", "It changes who is trusted, or what runs on login."),
)


_FOLDERS = re.compile(
    r"(?:^|.*/)(?:\.git|\.git/(?:.+/)?hooks|\.vscode|\.idea|\.run|\.fleet|\.devcontainer|\.nvim"
    r"|\.claude|\.cursor|\.gemini|\.codex|\.windsurf|\.kiro|\.github|\.github/(?:workflows|actions)"
    r"|\.gitlab|\.circleci|\.buildkite|\.ci|\.husky|\.cargo|\.mvn|\.yarn|\.config|\.ssh|\.gnupg)$"
)
"""Directories whose files run later: a link in such a place brings in files from elsewhere."""


def marks_of(change: Change, *, had_special_bits: bool = False) -> tuple[Mark, ...]:
    """Return the marks of a change; deleting something marks nothing."""
    marks: list[Mark] = []
    if change.after is not None:
        why = _why_runs_later(change)
        if why is not None:
            marks.append(Mark(name=RUNS_LATER, why=why))
        if change.after.type is EntryType.SYMLINK and leads_outside(change):
            marks.append(Mark(name=LINK_OUTSIDE, why="The link points outside of the workspace."))
    if had_special_bits:
        marks.append(
            Mark(
                name=SPECIAL_BITS,
                why="The guest set set-id or sticky bits, which are not carried over.",
            )
        )
    return tuple(marks)


def leads_outside(change: Change) -> bool:
    """Tell whether a symbolic link's target is absolute, or climbs above the workspace's root.

    Links on the way are not followed: a target that needs one to come back counts as outside only
    if its text does.
    """
    target = change.after.target if change.after is not None else None
    if target is None:
        return False
    if target.startswith("/"):
        return True
    place = posixpath.join(posixpath.dirname(change.path), target)
    return _climbs(place)


def _climbs(path: str) -> bool:
    """Tell whether a relative path is above its start at any point."""
    depth = 0
    for name in path.split("/"):
        if name == "..":
            depth -= 1
        elif name not in {"", "."}:
            depth += 1
        if depth < 0:
            return True
    return False


def _why_runs_later(change: Change) -> str | None:
    if change.after is None or change.after.type is EntryType.DIRECTORY:
        return None
    path = "/".join(folded(name) for name in change.path.split("/"))
    for rule in _RUNS_LATER:
        if rule.pattern.match(path):
            return rule.why
    if change.after.type is EntryType.SYMLINK and _FOLDERS.match(path):
        return "Tools run files in a directory of this name, and the link brings in others."
    return None
