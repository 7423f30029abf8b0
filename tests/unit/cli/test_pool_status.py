"""What `luminaguard pool status` says of the pools that run."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from luminaguard.cli.main import cli
from luminaguard.errors import LuminaGuardError
from luminaguard.vm.pool.events import (
    HandedOut,
    MakingBegun,
    MakingFailed,
    PoolEvent,
    Queued,
    Restored,
    Taken,
    TemplateReady,
    Warmed,
)
from luminaguard.vm.pool.metrics import PoolMetrics, Totals, measure
from luminaguard.vm.pool.publish import MetricsFile
from luminaguard.vm.pool.schedule import Facts
from luminaguard.vm.pool.settings import MIB, PoolSettings
from luminaguard.vm.pool.state import PoolState

KEY = "abcdef0123456789" * 4
EVENTS: tuple[PoolEvent, ...] = (
    TemplateReady(at_s=0, key=KEY),
    MakingBegun(at_s=0, machine=1, template=KEY),
    MakingBegun(at_s=0, machine=2, template=KEY),
    MakingBegun(at_s=0, machine=3, template=KEY),
    Restored(at_s=1, machine=1, spawn_ms=40),
    Restored(at_s=1, machine=2, spawn_ms=60),
    MakingFailed(at_s=1, machine=3, stale=False, hopeless=False),
    Warmed(at_s=2, machine=2),
    Queued(at_s=3, ticket=1, owner="one", deadline_s=60),
    HandedOut(at_s=3, machine=1, ticket=1, expires_s=600),
    Taken(at_s=3, machine=1, queue_ms=2, hand_out_ms=7),
    Queued(at_s=4, ticket=2, owner="one", deadline_s=60),
)


@pytest.fixture
def busy() -> PoolMetrics:
    """The figures of a pool that has been through something."""
    state, totals = PoolState(), Totals()
    for event in EVENTS:
        state, totals = event.after(state), totals.after(event)
    settings = PoolSettings(size=2, max_machines=8, max_waiting=16, memory_reserve_mib=1024)
    return measure(state, totals, settings, Facts(now_s=14.0, free_bytes=3072 * MIB))


def status(place: Path, *arguments: str) -> str:
    environment = {
        "LUMINAGUARD_STATE_DIR": str(place / "state"),
        "LUMINAGUARD_CACHE_DIR": str(place / "cache"),
        "LUMINAGUARD_CONFIG": str(place / "config" / "config.toml"),
    }
    done = CliRunner().invoke(
        cli, ["pool", "status", *arguments], env=environment, catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.stdout


def test_without_a_pool_it_says_so_and_that_is_no_failure(tmp_path: Path) -> None:
    assert status(tmp_path) == "no pool is running\n"
    assert json.loads(status(tmp_path, "--json")) == {"pools": []}
    assert not (tmp_path / "state").exists(), "looking makes nothing"


def test_a_running_pool_is_shown_with_all_its_figures(tmp_path: Path, busy: PoolMetrics) -> None:
    with MetricsFile(tmp_path / "state" / "run", "0123") as public:
        public.publish(busy)
        shown = status(tmp_path)
    for line in (
        f"pool 0123 of process {os.getpid()}, as of 0 s ago",
        "machines   1 in use, 1 of 2 in store, 0 starting, 0 ending; at most 8",
        "waiting    1; at most 16",
        "spawn      50.0 ms on average",
        "hand-out   p50 7.0 ms, p95 7.0 ms, p99 7.0 ms (latest 1)",
        "queue      p50 2.0 ms",
        "template   abcdef012345, found right 14 s ago",
        "memory     210 MiB of 2258 MiB; 70 MiB a machine in store",
        "failures   restore 1",
    ):
        assert line in shown


def test_json_holds_one_object_with_every_figure(tmp_path: Path, busy: PoolMetrics) -> None:
    with MetricsFile(tmp_path / "state" / "run", "0123") as public:
        public.publish(busy)
        (pool,) = json.loads(status(tmp_path, "--json"))["pools"]
    assert (pool["id"], pool["pid"]) == ("0123", os.getpid())
    assert pool["metrics"] == {
        "active_vms": 1,
        "queued_tasks": 1,
        "avg_spawn_time_ms": 50.0,
        "snapshot_freshness": 14.0,
        "paused": 1,
        "starting": 0,
        "ending": 0,
        "capacity": 8,
        "size": 2,
        "max_waiting": 16,
        "queue_wait_ms": {"p50": 2, "p95": 2, "p99": 2, "n": 1},
        "hand_out_ms": {"p50": 7, "p95": 7, "p99": 7, "n": 1},
        "failures": {"restore": 1},
        "totals": {"handed_out": 1, "requested": 2, "spawned": 2, "warmed": 1},
        "memory_limit_bytes": 2258 * MIB,
        "memory_used_bytes": 210 * MIB,
        "clone_bytes": 70 * MIB,
        "template": KEY,
        "refreshing": False,
    }


def test_a_pool_that_has_not_done_anything_yet_is_shown_as_that(
    tmp_path: Path, busy: PoolMetrics
) -> None:
    empty = measure(PoolState(), Totals(), PoolSettings(), Facts(now_s=0, free_bytes=None))
    with MetricsFile(tmp_path / "state" / "run", "0123") as public:
        public.publish(replace(empty, refreshing=True))
        shown = status(tmp_path)
    assert "spawn      - on average" in shown
    assert "hand-out   none yet" in shown
    assert "template   -, none yet; a new one is taking over" in shown
    assert "memory     0 MiB of an unknown amount" in shown
    assert "failures   none" in shown


def test_only_pools_of_the_named_backend_are_shown(tmp_path: Path, busy: PoolMetrics) -> None:
    runtime = tmp_path / "state" / "run"
    with (
        MetricsFile(runtime, "0123", backend="qemu") as first,
        MetricsFile(runtime, "4567", backend="process") as second,
    ):
        first.publish(busy)
        second.publish(busy)
        shown = status(tmp_path, "--backend", "process")
        (told,) = json.loads(status(tmp_path, "--json", "--backend", "qemu"))["pools"]
        none = status(tmp_path, "--backend", "gvisor")
    assert f"pool 4567 of process {os.getpid()} on process" in shown
    assert "pool 0123" not in shown
    assert (told["id"], told["backend"]) == ("0123", "qemu")
    assert none == "no pool on gvisor is running\n"


@pytest.mark.parametrize("command", [["pool", "status"], ["bench"], ["exec"]])
def test_a_backend_that_does_not_exist_is_named_with_those_that_do(
    tmp_path: Path, command: list[str]
) -> None:
    rest = ["--", "true"] if command == ["exec"] else []
    environment = {
        "LUMINAGUARD_STATE_DIR": str(tmp_path / "state"),
        "LUMINAGUARD_CACHE_DIR": str(tmp_path / "cache"),
    }
    with pytest.raises(LuminaGuardError, match="nosuch") as refused:
        CliRunner().invoke(
            cli,
            [*command, "--backend", "nosuch", *rest],
            env=environment,
            catch_exceptions=False,
        )
    assert refused.value.hint is not None
    assert "gvisor, process" in refused.value.hint
