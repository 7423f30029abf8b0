"""What a living pool says of itself can be read by others; what a dead one left is removed."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from luminaguard.errors import VmError
from luminaguard.vm.pool.metrics import PoolMetrics, Totals, measure
from luminaguard.vm.pool.publish import MetricsFile, published_pools
from luminaguard.vm.pool.schedule import Facts
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.state import PoolState

DEAD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from luminaguard.vm.pool.publish import MetricsFile
from test_publish import metrics
with MetricsFile(Path(sys.argv[1]), "dead") as file:
    file.publish(metrics())
    print("there", flush=True)
    time.sleep(100)
"""


def metrics(size: int = 3) -> PoolMetrics:
    facts = Facts(now_s=5.0, free_bytes=2 * 1024**3)
    return measure(PoolState(), Totals(), PoolSettings(size=size), facts)


def test_a_living_pool_is_found_with_what_it_last_said(tmp_path: Path) -> None:
    assert published_pools(tmp_path) == []
    with MetricsFile(tmp_path, "one") as one, MetricsFile(tmp_path, "two") as two:
        assert published_pools(tmp_path) == [], "they have said nothing yet"
        one.publish(metrics(1))
        one.publish(metrics(4))
        two.publish(metrics(2))
        found = published_pools(tmp_path)
        assert [(pool.id, pool.pid, pool.metrics["size"]) for pool in found] == [
            ("one", os.getpid(), 4),
            ("two", os.getpid(), 2),
        ]
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pools").iterdir()}
        assert modes == {0o600}
    assert list((tmp_path / "pools").iterdir()) == []
    one.publish(metrics())
    assert list((tmp_path / "pools").iterdir()) == [], "a closed file says nothing"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    killed = subprocess.Popen(
        [sys.executable, "-c", DEAD, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    )
    try:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "there\n"
        assert [pool.id for pool in published_pools(tmp_path)] == ["dead"]
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.communicate(timeout=20)
    (tmp_path / "pools" / ".new-dead.json").write_text("half")
    (tmp_path / "pools" / ".new-other.lock").touch()
    with MetricsFile(tmp_path, "alive") as alive:
        alive.publish(metrics())
        assert [pool.id for pool in published_pools(tmp_path)] == ["alive"]
        names = sorted(path.name for path in (tmp_path / "pools").iterdir())
        assert names == ["alive.json", "alive.lock"]


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x"}', '{"pid": 1}', "x" * 70_000])
def test_what_cannot_be_read_is_not_shown(tmp_path: Path, content: str) -> None:
    with MetricsFile(tmp_path, "odd"):
        (tmp_path / "pools" / "odd.json").write_text(content)
        assert published_pools(tmp_path) == []


def test_a_directory_that_others_may_enter_is_neither_written_nor_read(tmp_path: Path) -> None:
    with MetricsFile(tmp_path, "one") as one:
        one.publish(metrics())
        (tmp_path / "pools").chmod(0o755)
        assert published_pools(tmp_path) == []
        with pytest.raises(VmError, match="others may enter") as raised:
            MetricsFile(tmp_path, "two").__enter__()
    assert "chmod 700" in (raised.value.hint or "")


def test_the_directories_that_it_makes_are_private(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "state" / "run", "one"):
        made = [tmp_path / "state" / "run", tmp_path / "state" / "run" / "pools"]
        assert [stat.S_IMODE(one.stat().st_mode) for one in made] == [0o700] * 2


def test_a_failed_write_leaves_what_was_said_before(tmp_path: Path) -> None:
    with MetricsFile(tmp_path, "one") as one:
        one.publish(metrics(1))
        (tmp_path / "pools" / ".new-one.json").mkdir()
        with pytest.raises(OSError, match="directory"):
            one.publish(metrics(2))
        said = json.loads((tmp_path / "pools" / "one.json").read_text())
        assert said["metrics"]["size"] == 1
        (tmp_path / "pools" / ".new-one.json").rmdir()


def test_windows_has_no_published_pools_and_nothing_fails_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with MetricsFile(tmp_path / "run", "one") as one:
        one.publish(metrics())
        assert published_pools(tmp_path / "run") == []
    assert not (tmp_path / "run").exists()
