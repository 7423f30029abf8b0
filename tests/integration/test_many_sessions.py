"""Many sessions at once: all finish, none sees another's files, bytes or processes, none leaks."""

import ast
import os
from pathlib import Path

import pytest

from luminaguard.bench.fleet import FleetRun, run_fleet
from luminaguard.config import Settings
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.direct import DirectSource
from luminaguard.vm.hypervisor import Template

pytestmark = [pytest.mark.anyio, pytest.mark.vm]


def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        cache_dir=tmp_path / "cache",
        config_file=tmp_path / "config" / "config.toml",
    )


def check_isolation(run: FleetRun) -> None:
    marks = {result.mark for result in run.results}
    assert len(marks) == run.sessions
    drawn: set[str] = set()
    for result in run.results:
        assert set(result.files) == {"own.txt", "seen.txt"}
        assert result.files["own.txt"] == result.mark
        seen = ast.literal_eval(result.files["seen.txt"])
        assert seen["own"] == result.mark
        assert seen["tree"] == ["own.txt", "stale.txt"]
        assert "left" not in seen["tmp"]  # the mount point of a tree below /tmp may be there
        assert seen["home"] == []
        assert not any(mark.strip() in str(seen["commands"]) for mark in marks)
        drawn.add(seen["random"])
    assert len(drawn) == run.sessions


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def used_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))


def children() -> set[str]:
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        found |= set(Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


@pytest.mark.guarantee("G6")
@pytest.mark.parametrize("sessions", [12, pytest.param(100, marks=pytest.mark.long)])
async def test_many_sessions_commit_at_once_and_none_sees_another(
    qemu: QemuHypervisor, qemu_template: Template, tmp_path: Path, sessions: int
) -> None:
    source = DirectSource(qemu, lambda: qemu_template.spec)
    warm_up = tmp_path / "warm-up"
    warm_up.mkdir()
    await run_fleet(source, settings(warm_up), warm_up, 1)
    files_before, children_before = open_files(), children()
    run = await run_fleet(source, settings(tmp_path), tmp_path, sessions)
    assert len(run.results) == sessions
    check_isolation(run)
    assert open_files() <= files_before
    assert children() <= children_before
    left = set(os.listdir(tmp_path)) - {"warm-up", "state", "cache"}
    assert left == {f"tree-{number}" for number in range(sessions)}
    assert used_bytes(tmp_path / "cache") < 4 << 20
