"""What remains to be done when LuminaGuard itself is killed: see that no machine outlives it.

Every process of a machine asks the kernel to be killed with its parent, but can ask only once it
runs: a parent that dies in the first milliseconds of a start leaves a child that nobody ends. So a
small shell waits on a pipe from this process; the pipe closes when this process dies, however it
dies, and the shell then kills whatever still carries this process's random mark on its command
line, and removes the cgroups that bear it.
Source: PR_SET_PDEATHSIG(2const); bubblewrap sets it after its own set-up.
"""

import secrets
import subprocess
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_SCRIPT = """
read -r mark || exit 0
read -r _ && exit 0
for round in 1 2 3 4 5 6 7 8 9 10; do
    for found in $(grep -lsF -- "$mark" /proc/[0-9]*/cmdline); do
        pid=${found#/proc/}
        kill -9 "${pid%/cmdline}" 2>/dev/null
    done
    for parent; do
        rmdir "$parent/$mark"-* 2>/dev/null
    done
    sleep 0.2
done
"""
_END_LIMIT_S = 5.0


class Undertaker:
    """Ends marked processes once this process is dead."""

    def __init__(self) -> None:
        """Draw a mark; nothing runs before `start`."""
        self.mark = f"luminaguard-{secrets.token_hex(16)}"
        self._close: weakref.finalize[[subprocess.Popen[bytes]], Undertaker] | None = None

    def start(self, cgroups: Iterable[Path] = ()) -> None:
        """Begin to watch, before the first marked process is started. Idempotent.

        `cgroups`: where marked cgroups are made.
        """
        if self._close is not None:
            return
        # A session of its own: a Ctrl-C on the terminal must not end the watcher first.
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", *map(str, cgroups)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            start_new_session=True,
        )
        _tell(shell, self.mark)
        self._close = weakref.finalize(self, _dismiss, shell)

    def close(self) -> None:
        """Stop watching; the caller has ended its machines. Idempotent."""
        if self._close is not None:
            self._close()
            self._close = None


def _dismiss(shell: subprocess.Popen[bytes]) -> None:
    _tell(shell, "done")
    shell.communicate(timeout=_END_LIMIT_S)


def _tell(shell: subprocess.Popen[bytes], line: str) -> None:
    if shell.stdin is not None:
        with suppress(BrokenPipeError):
            shell.stdin.write(f"{line}\n".encode())
            shell.stdin.flush()
