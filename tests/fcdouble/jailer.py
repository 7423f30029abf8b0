"""A stand-in for Firecracker's jailer: takes its options, builds its chroot, runs the double in it.

A real process with a real uid, chroot and system call filter, so that what LuminaGuard builds
around it is tried for real. Source of what it does: Firecracker, docs/jailer.md.
"""

import argparse
import ctypes
import os
import re
import resource
import shutil
import struct
import sys
import threading
from pathlib import Path

from fcdouble.description import description
from fcdouble.engine import Engine
from fcdouble.guest import warm_up
from fcdouble.server import ApiServer
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.testing.hypervisor import FakeGuest, exited

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LIMITS = {"fsize": resource.RLIMIT_FSIZE, "no-file": resource.RLIMIT_NOFILE}
_ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def main() -> None:
    options = _options()
    root = Path(options.chroot_base_dir) / Path(options.exec_file).name / options.id / "root"
    if os.geteuid() != 0 or not _ID.fullmatch(options.id) or not root.is_dir():
        sys.exit("jailer: not root, no id, or no directory")
    os.closerange(3, 1024)
    os.environ.clear()
    warm_up()
    description()
    for limit in options.resource_limit:
        name, _, value = limit.partition("=")
        resource.setrlimit(_LIMITS[name], (int(value), int(value)))
    shutil.copy(options.exec_file, root / Path(options.exec_file).name)
    (root / "dev").mkdir()
    os.mknod(root / "dev/kvm", 0o600 | 0o020000, os.makedev(10, 232))
    for path in (root, root / "dev/kvm"):
        os.chown(path, options.uid, options.gid)
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setgid(options.gid)
    os.setuid(options.uid)
    _filter()
    engine = Engine(root=Path("/"), id=options.id, programs={"sh": _shell})
    ApiServer(engine, Path(options.api_sock))
    threading.Event().wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="jailer", allow_abbrev=False)
    for name in ("id", "exec-file", "chroot-base-dir", "api-sock"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("uid", "gid"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--resource-limit", action="append", default=[])
    at = sys.argv.index("--")
    if any(word.startswith("--api-sock") for word in sys.argv[:at]):
        sys.exit("jailer: unexpected argument --api-sock")
    return parser.parse_args([*sys.argv[1:at], *sys.argv[at + 1 :]])


def _filter() -> None:
    """Install a filter that allows everything: what is read back is that there is one."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = ctypes.create_string_buffer(_ALLOW_ALL, len(_ALLOW_ALL))
    header = struct.pack("HxxxxxxQ", 1, ctypes.addressof(program))
    buffer = ctypes.create_string_buffer(header, len(header))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit("jailer: no_new_privs")
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, buffer, 0, 0):
        sys.exit(f"jailer: seccomp: {os.strerror(ctypes.get_errno())}")


def _shell(_: FakeGuest, execution: Execution) -> GuestReport:
    """Tell about the process itself, or misbehave."""
    if execution.argv[2] == "die":
        os._exit(1)
    if execution.argv[2] == "look":
        seen = sorted(os.listdir("/"))
        return exited(0, stdout=f"{os.getuid()} {seen} {_denied()}".encode())
    return exited(0)


def _denied() -> list[str]:
    """Return what of the read-only part could not be changed."""
    denied: list[str] = []
    for name in sorted(os.listdir("/ro")):
        try:
            with open(f"/ro/{name}", "r+b"):
                pass
        except OSError:
            denied.append(name)
    return denied


if __name__ == "__main__":
    main()
