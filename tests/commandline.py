"""Run the real `luminaguard` command as a user would, with a state directory of the test's own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_S = 100.0


@dataclass
class CommandLine:
    """One user's command line: a state directory, a home, a workspace."""

    home: Path
    workspace: Path
    cache: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ
        }
        coverage = {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
        return {
            **kept,
            **coverage,
            "HOME": str(self.home),
            "LUMINAGUARD_STATE_DIR": str(self.home / "state"),
            "LUMINAGUARD_CACHE_DIR": str(self.cache),
            "LUMINAGUARD_CONFIG": str(self.home / "config" / "config.toml"),
            **more,
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a command without a terminal; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "luminaguard", *arguments],
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
        code = process.returncode
        return subprocess.CompletedProcess(arguments, code, out.decode(), err.decode())

    def exec(self, command: Sequence[str], *options: str, **more: str) -> tuple[int, Any, str]:
        """Run `exec --json` and return exit code, object and standard error."""
        given = ("exec", "-w", str(self.workspace), "--json", *options, "--", *command)
        done = self.run(*given, **more)
        return done.returncode, json.loads(done.stdout), done.stderr

    def approve_all(self, command: Sequence[str], *options: str) -> tuple[int, Any, str]:
        """Run `exec` with everything approved."""
        allowed = {"LUMINAGUARD_ALLOW_UNATTENDED": "1"}
        return self.exec(command, "--approver", "all", *options, **allowed)

    def audit_verifies(self) -> bool:
        return self.run("audit", "verify").returncode == 0
