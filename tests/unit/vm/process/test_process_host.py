"""What this host must have for confined processes, and what is said where it does not."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.backends import BACKENDS, candidates, named
from luminaguard.domain.isolation import Tier
from luminaguard.errors import ConfigError, HypervisorUnavailable
from luminaguard.vm.backends.process.host import Bubblewrap, find_bubblewrap
from luminaguard.vm.backends.process.launch import Order, command_line, marked


def program(place: Path, script: str) -> Path:
    bwrap = place / "bwrap"
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    return bwrap


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "bubblewrap 0.3.1"', "too old"),
        ('echo "something else 9.9"', "is no bubblewrap"),
        ("exit 3", "is no bubblewrap"),
        ("sleep 30", "does not run"),
    ],
)
def test_a_program_that_will_not_do_is_named_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str
) -> None:
    monkeypatch.setattr("luminaguard.vm.backends.process.host._LIMIT_S", 0.5)
    monkeypatch.setenv("LUMINAGUARD_BWRAP", str(program(tmp_path, script)))
    with pytest.raises(HypervisorUnavailable, match=said) as refused:
        find_bubblewrap()
    assert refused.value.hint is not None
    assert "bubblewrap" in refused.value.hint


def test_a_missing_program_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUMINAGUARD_BWRAP", str(tmp_path / "none"))
    with pytest.raises(HypervisorUnavailable, match="does not run") as refused:
        find_bubblewrap()
    assert refused.value.hint == "apt-get install --reinstall bubblewrap"


def test_its_version_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = program(tmp_path, 'echo "bubblewrap 0.11.0"')
    monkeypatch.setenv("LUMINAGUARD_BWRAP", str(path))
    assert find_bubblewrap() == Bubblewrap(path=str(path), version="0.11.0")


@pytest.mark.guarantee("G8")
def test_processes_are_taken_only_by_their_own_name() -> None:
    others = [tier.value for tier in Tier if tier is not Tier.PROCESS]
    others += [backend.name for backend in BACKENDS if backend.name != "process"]
    for order in ((), *((name,) for name in others)):
        assert "process" not in [backend.name for backend, _ in candidates(order)]
    assert [(one.name, tier) for one, tier in candidates(("process",))] == [
        ("process", Tier.PROCESS)
    ]


def test_a_backend_that_does_not_exist_is_refused_with_those_that_do() -> None:
    assert named("process").tiers == (Tier.PROCESS,)
    with pytest.raises(ConfigError, match="'docker'") as refused:
        named("docker")
    assert refused.value.hint == "known: firecracker, qemu, apple, gvisor, process"


def order(namespace: int | None) -> Order:
    return Order(
        bubblewrap=Bubblewrap(path="/usr/bin/bwrap", version="0.8.0"),
        name="luminaguard-mark-1",
        root=Path("/cache/root"),
        shown=Path("/run/shown"),
        joins=("/cgroup/tasks",),
        namespace=namespace,
        command_uid=1000 if namespace else 0,
        copying=False,
        data_bytes=None if namespace else 1 << 29,
    )


NEEDED = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup")


@pytest.mark.parametrize("namespace", [None, 7])
def test_every_machine_is_started_apart_read_only_and_mortal(namespace: int | None) -> None:
    words = command_line(order(namespace))
    inner = words[len(words) - 1 - words[::-1].index("/usr/bin/bwrap") :]
    assert set(NEEDED) <= set(inner)
    assert {"--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"} <= set(inner)
    binds = [word for word in inner if word.startswith(("--bind", "--dev-bind"))]
    assert binds == []
    targets = [inner[at + 2] for at, word in enumerate(inner) if word == "--ro-bind"]
    assert targets == ["/", "/mnt"]
    assert words[-1] == "luminaguard-mark-1"
    assert "/cgroup/tasks" in words


def test_an_ordinary_users_machine_is_bounded_by_process_where_no_cgroup_does_it() -> None:
    words = command_line(order(None))
    assert "--data=536870912" in words
    assert words[words.index("--user") + 1] == "--map-root-user"
    assert not any(word.startswith("--data") for word in command_line(order(7)))


def test_only_processes_that_bear_the_name_are_found() -> None:
    assert marked(f"luminaguard-{socket.gethostname()}-nobody") == []
    assert os.getpid() not in marked("pytest")


def without_user_namespaces() -> list[str]:
    """Return a prefix under which nobody can make any; skip where that cannot be had."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user cannot make a user namespace to forbid others in")
    return prefix


def test_a_host_that_forbids_user_namespaces_is_refused_with_the_mend() -> None:
    code = (
        "from luminaguard.errors import HypervisorUnavailable\n"
        "from luminaguard.vm.backends.process.host import require_namespaces\n"
        "try: require_namespaces()\n"
        "except HypervisorUnavailable as refused: print(refused, '|', refused.hint)\n"
    )
    ran = subprocess.run(
        [*without_user_namespaces(), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.startswith("this user may not make user namespaces: unshare"), ran.stderr
    assert "sudo sysctl -w user.max_user_namespaces=" in ran.stdout
