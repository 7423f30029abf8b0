"""Asking a program of the host's what it is."""

import subprocess
from pathlib import Path


def ask(program: str | Path, argument: str, *, limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program with one argument, in no language but C, and return what it said. Blocking.

    Raises:
        OSError: it does not start.
        subprocess.SubprocessError: it does not end within `limit_s`.
    """
    return subprocess.run(
        [str(program), argument],
        capture_output=True,
        timeout=limit_s,
        check=False,
        text=True,
        errors="replace",
        env={"LC_ALL": "C"},
    )
