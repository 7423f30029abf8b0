"""A probe is remembered, and only for as long as it holds."""

from pathlib import Path

import pytest

from luminaguard.domain.isolation import Tier
from luminaguard.vm.hypervisor import Probe
from luminaguard.vm.probecache import ProbeCache, host_identity

KNOWN = {"kvm", "tcg"}


def test_a_remembered_probe_holds_only_under_the_same_circumstances(tmp_path: Path) -> None:
    cache = ProbeCache(tmp_path / "probe.json", KNOWN)
    probe = Probe(tier=Tier.EMULATED, accelerator="tcg", version="7", tried=(("kvm", "no"),))
    assert cache.read("here") is None
    cache.write("here", probe)
    assert cache.read("here") == probe
    assert cache.read("elsewhere") is None
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"identity":"here","tier":"best"}'])
def test_a_damaged_memory_of_a_probe_is_no_probe(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "probe.json").write_bytes(content)
    assert ProbeCache(tmp_path / "probe.json", KNOWN).read("here") is None


def test_the_identity_of_a_host_changes_with_qemu() -> None:
    assert host_identity("qemu 7") == host_identity("qemu 7")
    assert host_identity("qemu 7") != host_identity("qemu 8")


def test_an_accelerator_that_no_backend_knows_is_no_probe(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    ProbeCache(path, KNOWN).write("here", Probe(tier=Tier.HARDWARE, accelerator="kvm", version="7"))
    assert ProbeCache(path, {"tcg"}).read("here") is None
