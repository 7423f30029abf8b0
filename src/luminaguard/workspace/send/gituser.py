"""Who the user is to git: carried into guests so that commits made there are the user's."""

import os
import subprocess
from collections.abc import Mapping
from functools import cache

_CARRIED = ("user.name", "user.email", "core.autocrlf")
_LIMIT_S = 5


def git_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return variables for the guest's git: the user's name, address and line-end habit.

    Only the user's global configuration is asked, from `/` and without `GIT_*` variables: a
    workspace's own configuration travels with the workspace. Source: git-config(1),
    GIT_CONFIG_COUNT.
    """
    settings = {"safe.directory": "*", **_global_settings(_kept(environment))}
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def _kept(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, value) for name, value in environment.items() if not name.startswith("GIT_")
    )


@cache
def _global_settings(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the carried settings; none where git is missing or does not answer."""
    pattern = "^(" + "|".join(key.replace(".", r"\.") for key in _CARRIED) + ")$"
    command = ["git", "config", "--global", "--null", "--get-regexp", pattern]
    try:
        asked = subprocess.run(
            command,
            cwd="/",
            env=dict(environment),
            capture_output=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[str, str] = {}
    for item in asked.stdout.decode("utf-8", "replace").split("\0"):
        key, _, value = item.partition("\n")
        if key in _CARRIED:
            found[key] = value
    return found
