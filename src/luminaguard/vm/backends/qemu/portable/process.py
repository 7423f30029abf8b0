"""One QEMU as a plain child, ended for certain, also when its owner is killed.

macOS has no death signal for children. So a small shell waits on a pipe from this process; the pipe
closes when this process dies, however it dies, and the shell then kills QEMU.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.errors import VmError
from luminaguard.vm.backends.qemu.portable.job import Job

_END_LIMIT_S = 10.0
_WORDS_BYTES = 4096
_WATCH = 'read -r _ || kill -9 "$1" 2>/dev/null'
_BEYOND_GUEST_BYTES = 3 * 1024**3


class PlainProcess:
    """A started QEMU."""

    def __init__(self, command: Sequence[str], inherited: Sequence[int], messages: Path) -> None:
        """Start it; what it says goes to the new file `messages`.

        Raises:
            VmError: it could not be started.
        """
        self._messages = messages
        try:
            with open(messages, "xb") as said:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    cwd=messages.parent,
                    start_new_session=sys.platform != "win32",
                    pass_fds=tuple(inherited),
                )
        except OSError as problem:
            raise VmError(f"QEMU could not be started: {problem.strerror}") from problem
        self.pid = self._child.pid
        self._watcher: subprocess.Popen[bytes] | None = None
        self._job: Job | None = None

    def watch(self, memory_bytes: int) -> None:
        """See that it ends with this process. Blocking.

        Raises:
            VmError: nothing could be set up for that.
        """
        if sys.platform == "win32":
            self._job = Job(self.pid, memory_bytes + _BEYOND_GUEST_BYTES)
            return
        try:
            # A session of its own: a Ctrl-C on the terminal must not end the watcher first.
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "sh", str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            raise VmError(f"no watcher could be started: {problem.strerror}") from problem

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet; its watcher goes before its number can be reused."""
        if self._child.returncode is None and self._child.poll() is not None:
            self._dismiss()
        return self._child.returncode is None

    def last_words(self) -> str:
        """Return the end of what it said."""
        try:
            said = self._messages.read_bytes()[-_WORDS_BYTES:]
        except OSError:
            said = b""
        return said.decode(errors="replace").strip() or "it said nothing"

    async def end(self) -> None:
        """Kill it and wait until it is gone. Idempotent."""
        await run_sync(self._end)

    def _end(self) -> None:
        if self._child.returncode is None:
            self._child.kill()
            self._child.wait(_END_LIMIT_S)
        self._dismiss()

    def _dismiss(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.communicate(b"done\n", timeout=_END_LIMIT_S)
        job, self._job = self._job, None
        if job is not None:
            job.close()
