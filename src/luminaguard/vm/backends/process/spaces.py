"""User namespaces whose every user is nobody on the host.

Root gives each machine two host users that nobody else has: one for the agent, one for its
commands. An ordinary user has only himself to give: agent and commands are he, in a namespace of
their own, and told apart by capabilities alone.
"""

import os
import select
import subprocess
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.process.host import namespace_hint
from luminaguard.vm.confinement.hosttools import tool
from luminaguard.vm.confinement.uids import UidLease, can_switch_users, lease_uid
from luminaguard.vm.spec import GUEST_UID

NO_UID = "an ordinary user can give machines no other user than himself"
_LIMIT_S = 10.0


class Space:
    """The users of one machine."""

    def __init__(self, namespace: int | None, leases: tuple[UidLease, ...]) -> None:
        """Take over an open user namespace and who lives in it; use `make_space`.

        `leases`: the agent's user and the commands'; none where both are the caller.
        """
        self._namespace = namespace
        self._leases = leases

    @property
    def namespace(self) -> int | None:
        """Open user namespace to enter; None: one is to be made with the machine."""
        return self._namespace

    @property
    def agent(self) -> UidLease | None:
        """The agent's own host user."""
        return self._leases[0] if self._leases else None

    @property
    def command_uid(self) -> int:
        """What commands are inside."""
        return GUEST_UID if self._leases else 0

    @property
    def owner(self) -> int | None:
        """Host user that the workspace's files must belong to; None: the caller."""
        return self._leases[1].uid if self._leases else None

    def let_go(self) -> None:
        """Close the namespace: the machine has entered it. Idempotent."""
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None

    def close(self) -> None:
        """Give the users back; no process of the machine lives. Idempotent."""
        self.let_go()
        leases, self._leases = self._leases, ()
        for lease in leases:
            lease.release()


def make_space() -> Space:
    """Return users for one machine. Blocking; some 5 ms as root.

    Raises:
        HypervisorUnavailable: every host user is taken, or no namespace can be made.
    """
    if not can_switch_users():
        return Space(None, ())
    leases: list[UidLease] = []
    try:
        leases += [lease_uid() for _ in range(2)]
        table = f"0 {leases[0].uid} 1\n{GUEST_UID} {leases[1].uid} 1\n"
        return Space(_namespace(table), tuple(leases))
    except BaseException:
        for lease in leases:
            lease.release()
        raise


def _namespace(table: str) -> int:
    """Return a new user namespace with these users and groups, open."""
    # It lives until its input ends: with this process at the latest.
    holder = subprocess.Popen(
        [tool("unshare"), "--user", "/bin/sh", "-c", "echo; read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        ready = holder.stdout is not None and select.select([holder.stdout], [], [], _LIMIT_S)[0]
        if not ready or holder.stdout is None or holder.stdout.read(1) != b"\n":
            holder.kill()
            said = holder.communicate(timeout=_LIMIT_S)[1].decode(errors="replace").strip()
            raise HypervisorUnavailable(
                f"no user namespace could be made: {said}", hint=namespace_hint()
            )
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(table, encoding="ascii")
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
    except OSError as problem:
        raise HypervisorUnavailable(
            f"a machine's users cannot be mapped: {problem.strerror}", hint=namespace_hint()
        ) from problem
    finally:
        holder.kill()
        holder.communicate(timeout=_LIMIT_S)
