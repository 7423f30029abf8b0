"""The floors are measured; a sandbox that is not here is named, not guessed."""

from pathlib import Path

import pytest

from luminaguard.bench import host
from luminaguard.bench.samples import Samples


def programs(directory: Path, **scripts: str) -> str:
    for name, script in scripts.items():
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def test_a_sandbox_that_fails_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, runsc="echo no such platform >&2; exit 1"))
    samples = Samples()
    host.measure_processes(samples, 2)
    assert host.GVISOR not in samples.taken
    assert "no such platform" in samples.unavailable[host.GVISOR]


def test_a_sandbox_that_is_missing_is_named_with_what_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, true="exit 0"))
    monkeypatch.setattr(host.shutil, "which", lambda _name: None)
    samples = Samples()
    host.measure_processes(samples, 1)
    assert "apt-get install runsc" in samples.unavailable[host.GVISOR]
    assert list(samples.taken) == [host.CPU, host.TRUE]


def test_a_sandbox_that_works_is_measured_beside_a_bare_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, runsc="exit 0", bwrap="exit 0"))
    samples = Samples()
    host.measure_processes(samples, 3)
    for figure in (host.CPU, host.TRUE, host.BUBBLEWRAP, host.GVISOR):
        assert len(samples.taken[figure]) == 3
    assert samples.unavailable == {}


def test_files_are_read_and_synced_for_the_floors(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("a")
    samples = Samples()
    host.measure_files(samples, tree, tmp_path, 2)
    assert {len(samples.taken[figure]) for figure in (host.LIST, host.READ, host.SYNCED)} == {2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]
