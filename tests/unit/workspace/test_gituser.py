"""A guest's git knows the user, and nothing else of the user's configuration."""

import os
from pathlib import Path

from luminaguard.workspace.send.gituser import git_environment


def settings(variables: dict[str, str]) -> dict[str, str]:
    count = int(variables["GIT_CONFIG_COUNT"])
    return {
        variables[f"GIT_CONFIG_KEY_{n}"]: variables[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)
    }


def test_name_address_and_line_ends_are_carried_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[user]\nname = Ada L\nemail = ada@example.com\n[core]\nautocrlf = input\n"
        "[credential]\nhelper = store\n[alias]\nx = !touch /tmp/x\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    assert settings(git_environment(environment)) == {
        "safe.directory": "*",
        "user.name": "Ada L",
        "user.email": "ada@example.com",
        "core.autocrlf": "input",
    }


def test_without_git_only_what_the_guest_needs_is_set(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    assert settings(git_environment(environment)) == {"safe.directory": "*"}


def test_a_repository_named_by_the_environment_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("[user]\nname = Mallory\n")
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": str(tmp_path / "evil"),
    }
    assert settings(git_environment(environment)) == {"safe.directory": "*"}
