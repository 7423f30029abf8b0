"""A host user of its own for every live machine of an ordinary user: out of /etc/subuid.

The administrator gives a user a range of uids; the setuid programs of the package uidmap let a
process of that user make a user namespace in which they exist. One such namespace serves all of a
process's machines; each becomes another uid of it, so none can signal, trace or read another, nor
anything of the user's own. Source: subuid(5), newuidmap(1), user_namespaces(7).
"""

import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from luminaguard.vm.confinement.uids import UidLease, lease_uid
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import user_id

if sys.platform != "win32":
    import pwd

SLOTS = 4096
_ABOVE = 1024
"""Uids left free at a range's end: containers like its start, and its end for their nobody."""
_LIMIT_S = 10.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class NoSubordinates(Exception):
    """Why machines cannot have uids out of this user's range, with what mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """Ids of the host that this user may use."""

    first: int
    count: int


class SubordinateUids:
    """A user namespace that holds a range of this user's subordinate ids."""

    def __init__(self, uids: IdRange, namespace: int, locks: Path) -> None:
        """Take over an open namespace; use `open` instead."""
        self._uids = uids
        self._namespace = namespace
        self._locks = locks

    @classmethod
    def open(cls) -> "SubordinateUids":
        """Make the namespace. Blocking; some 10 ms.

        Raises:
            NoSubordinates: this user has no range, or the host's tools refuse to map it.
        """
        name = _user_name()
        uids, gids = own_range(name, Path("/etc/subuid")), own_range(name, Path("/etc/subgid"))
        count = min(uids.count, gids.count)
        uids, gids = replace(uids, count=count), replace(gids, count=count)
        locks = _lock_directory()
        return cls(uids, _mapped_namespace(uids, gids), locks)

    def close(self) -> None:
        """Let go of the namespace; machines in it keep it alive as long as they need it."""
        os.close(self._namespace)

    def lease(self) -> UidLease:
        """Take a free uid.

        Raises:
            HypervisorUnavailable: every uid is taken.
        """
        lease = lease_uid(self._locks, first=self._uids.first, slots=self._uids.count)
        inner = lease.uid - self._uids.first + 1
        return replace(lease, namespace=self._namespace, inner=inner)


def own_range(name: str, table: Path) -> IdRange:
    """Return the part that machines use of this user's range in /etc/subuid or /etc/subgid.

    Raises:
        NoSubordinates: there is none, or the file cannot be read.
    """
    kind = "uids" if table.name == "subuid" else "gids"
    mend = f"sudo usermod --add-sub{kind} 524288-589823 {name}"
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as problem:
        raise NoSubordinates(f"{table}: {problem.strerror}: {mend}") from problem
    for line in lines:
        words = line.strip().split(":")
        if len(words) == 3 and words[0] in {name, str(user_id())} and _are_ids(words[1:]):
            first, count = int(words[1]), int(words[2])
            used = min(SLOTS, count)
            start = first + max(count - used - _ABOVE, 0)
            return IdRange(first=start, count=used)
    raise NoSubordinates(f"no range in {table} for {name}: {mend}")


def _are_ids(words: list[str]) -> bool:
    return all(word.isascii() and word.isdigit() and int(word) > 0 for word in words)


def _user_name() -> str:
    if sys.platform == "win32":
        raise NoSubordinates("this system has no subordinate uids")
    try:
        return pwd.getpwuid(user_id()).pw_name
    except KeyError as problem:
        raise NoSubordinates(
            f"user {user_id()} has no name, and newuidmap serves named users only"
        ) from problem


def _lock_directory() -> Path:
    """Return one directory for all of this user's processes, whatever they call their own."""
    session = Path(f"/run/user/{user_id()}")
    base = session if _is_own(session) else Path(tempfile.gettempdir())
    directory = base / f"luminaguard-uids-{user_id()}"
    try:
        if make_private(directory):
            return directory
    except OSError as problem:
        raise NoSubordinates(f"{directory}: {problem.strerror}") from problem
    raise NoSubordinates(f"{directory} is not this user's alone: remove it")


def _is_own(directory: Path) -> bool:
    try:
        about = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == user_id()


def _mapped_namespace(uids: IdRange, gids: IdRange) -> int:
    """Return an open user namespace: 0 is this user, 1 and on are the ranges."""
    tools = {name: shutil.which(name, path=_PATH) for name in ("newuidmap", "newgidmap", "unshare")}
    missing = [name for name, path in tools.items() if path is None]
    if missing:
        package = "util-linux" if "unshare" in missing else "uidmap"
        raise NoSubordinates(f"{missing[0]} is missing: sudo apt-get install {package}")
    # It lives until its input ends: with this process at the latest.
    holder = subprocess.Popen(
        [str(tools["unshare"]), "--user", "/bin/sh", "-c", "echo; read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": _PATH, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        if not _is_ready(holder):
            raise NoSubordinates(f"no user namespace could be made: {_words(holder)}")
        for name, ids, own in (("newuidmap", uids, user_id()), ("newgidmap", gids, _group_id())):
            _map(str(tools[name]), holder.pid, own, ids)
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
    except OSError as problem:
        raise NoSubordinates(f"the user namespace is out of reach: {problem.strerror}") from problem
    finally:
        _dismiss(holder)


def _is_ready(holder: "subprocess.Popen[bytes]") -> bool:
    if holder.stdout is None or not select.select([holder.stdout], [], [], _LIMIT_S)[0]:
        return False
    return holder.stdout.read(1) == b"\n"


def _map(program: str, pid: int, own: int, ids: IdRange) -> None:
    table = ["0", str(own), "1", "1", str(ids.first), str(ids.count)]
    try:
        subprocess.run(
            [program, str(pid), *table],
            capture_output=True,
            check=True,
            text=True,
            timeout=_LIMIT_S,
            env={"LC_ALL": "C"},
        )
    except subprocess.CalledProcessError as refused:
        said = str(refused.stderr).strip()
        raise NoSubordinates(f"{program} refused: {said}") from refused
    except subprocess.TimeoutExpired as late:
        raise NoSubordinates(f"{program} did not end") from late


def _group_id() -> int:
    return -1 if sys.platform == "win32" else os.getegid()


def _words(holder: "subprocess.Popen[bytes]") -> str:
    _, said = holder.communicate(timeout=_LIMIT_S)
    return said.decode(errors="replace").strip()


def _dismiss(holder: "subprocess.Popen[bytes]") -> None:
    holder.kill()
    holder.communicate(timeout=_LIMIT_S)
