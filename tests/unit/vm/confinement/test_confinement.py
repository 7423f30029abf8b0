"""Uids, layers and refusals of the jail, without a machine."""

import os
from pathlib import Path

import pytest

from luminaguard.domain.isolation import Jail
from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.confinement.jail import tool
from luminaguard.vm.confinement.readback import MINIMUM, read_jail, require_minimum
from luminaguard.vm.confinement.uids import FIRST_UID, SLOTS, lease_uid
from luminaguard.vm.confinement.userns import namespaces_refused
from luminaguard.vm.directories import make_private


def test_two_living_leases_never_share_a_uid(tmp_path: Path) -> None:
    leases = [lease_uid(tmp_path / "uids") for _ in range(5)]
    uids = [lease.uid for lease in leases]
    assert len(set(uids)) == 5
    assert all(FIRST_UID <= uid < FIRST_UID + SLOTS for uid in uids)
    leases[2].release()
    again = lease_uid(tmp_path / "uids")
    assert again.uid == uids[2]
    for lease in (*leases[:2], *leases[3:], again):
        lease.release()


def test_a_uid_stays_taken_while_any_process_holds_its_lock(tmp_path: Path) -> None:
    lease = lease_uid(tmp_path / "uids")
    held_elsewhere = os.dup(lease.fd)
    lease.release()
    other = lease_uid(tmp_path / "uids")
    assert other.uid != lease.uid
    other.release()
    os.close(held_elsewhere)


def test_a_lock_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "uids").mkdir()
    (tmp_path / "uids").chmod(0o777)
    with pytest.raises(HypervisorUnavailable, match="written by others"):
        lease_uid(tmp_path / "uids")


def test_a_process_that_is_not_confined_is_seen_as_such() -> None:
    jail = read_jail(os.getpid(), sealed_memory=None, runtime_private=False, berth=None)
    lacking = {"seccomp", "mount-namespace", "pid-namespace", "net-namespace", "ipc-namespace"}
    assert lacking <= jail.missing.keys()
    assert not MINIMUM & set(jail.layers)


@pytest.mark.parametrize("layer", sorted(MINIMUM))
def test_each_missing_layer_of_the_minimum_is_refused_by_name(layer: str) -> None:
    jail = Jail(layers=tuple(MINIMUM - {layer}), missing={layer: "because"})
    with pytest.raises(HypervisorUnavailable, match=f"{layer}: because"):
        require_minimum(jail, allow_missing=frozenset(), clone=True)
    require_minimum(jail, allow_missing=frozenset({layer}), clone=True)


def test_a_layer_beyond_the_minimum_may_be_missing() -> None:
    jail = Jail(layers=tuple(MINIMUM), missing={"cgroup-limits": "not delegated"})
    require_minimum(jail, allow_missing=frozenset(), clone=True)


def test_a_missing_tool_is_named_with_its_package() -> None:
    with pytest.raises(HypervisorUnavailable, match="no-such-tool is missing") as refusal:
        tool("no-such-tool")
    assert refusal.value.hint is not None
    assert "no-such-tool" in refusal.value.hint


@pytest.mark.parametrize(
    ("switch", "value", "says"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("kernel/unprivileged_userns_clone", "0", "switched off"),
        ("user/max_user_namespaces", "0", "no user namespaces"),
    ],
)
def test_a_host_that_restricts_user_namespaces_hears_how_to_mend_it(
    tmp_path: Path, switch: str, value: str, says: str
) -> None:
    (tmp_path / switch).parent.mkdir(parents=True)
    (tmp_path / switch).write_text(f"{value}\n")
    refusal = namespaces_refused("bwrap: Permission denied", tmp_path)
    assert says in str(refusal)
    assert "bwrap: Permission denied" in str(refusal)
    assert refusal.hint is not None
    assert switch.rpartition("/")[2] in refusal.hint


def test_a_directory_is_private_only_while_nobody_else_may_enter(tmp_path: Path) -> None:
    assert make_private(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    (tmp_path / "run").chmod(0o710)
    assert not make_private(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path)
    assert not make_private(tmp_path / "link")
